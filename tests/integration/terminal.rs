//! A terminal that a test holds the other end of.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::ensure;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::harness::wait::{SOON, until};

/// A child on a terminal of 80 columns.
pub struct Terminal {
    pub child: tokio::process::Child,
    own: File,
    /// The child's side of the terminal, which has its modes.
    pub other: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    pub fn start(command: Command, lines: u16) -> Self {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&own).unwrap();
        unlockpt(&own).unwrap();
        let path = ptsname(&own, Vec::new()).unwrap().into_string().unwrap();
        let other = OpenOptions::new().read(true).write(true).open(path).unwrap();
        tcsetwinsize(&own, Winsize { ws_row: lines, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let side = || Stdio::from(other.try_clone().unwrap());
        let mut command = tokio::process::Command::from(command);
        command.stdin(side()).stdout(side()).stderr(side()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let own = File::from(own);
        let (mut reader, shown) = (own.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let sink = Arc::clone(&shown);
        // Ends with an error when the child's side is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, own, other, shown }
    }

    /// What was drawn since the last key, with the codes that place it.
    pub fn drawn(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub fn press(&mut self, keys: &str) {
        self.shown.lock().unwrap().clear();
        self.own.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text was drawn since the last key.
    pub async fn shows(&self, text: &str) {
        until(text, SOON, async || {
            let shown = self.drawn();
            ensure!(shown.contains(text), "{shown:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Waits for the end, and checks that the terminal is as before.
    pub async fn ends(&mut self) {
        let status = tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
        assert!(tcgetattr(&self.other).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        // The alternate screen is left and the cursor is shown.
        self.shows("\u{1b}[?1049l").await;
        self.shows("\u{1b}[?25h").await;
    }
}
