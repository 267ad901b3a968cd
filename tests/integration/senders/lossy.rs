//! A way to the service that loses answers. What was asked has been done by then.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// The type of an HTTP/2 frame that begins an answer.
const HEADERS: u8 = 1;

/// Listens at an address of its own until it is dropped.
#[derive(Debug)]
pub struct Lossy {
    pub address: String,
    task: JoinHandle<()>,
}

impl Lossy {
    /// The connection number N ends in place of its answer number `lost[N]`, counted from 1. Later ones lose nothing.
    pub async fn start(service: String, lost: &'static [usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut lost = lost.iter();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                // A connection of its own for each: a client may open the next one before the last has ended.
                tokio::spawn(relay(client, service.clone(), lost.next().copied()));
            }
        });
        Self { address, task }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, service: String, lost: Option<usize>) {
    let Ok(server) = TcpStream::connect(service).await else { return };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    // Both connections are closed when either direction ends.
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = answers(from_server, to_client, lost) => {}
    }
}

/// Passes frames on until the answer that is lost.
async fn answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, lost: Option<usize>) -> std::io::Result<()> {
    let mut streams = BTreeSet::new();
    loop {
        // Three bytes of length, type, flags, four of the stream.
        let mut frame = vec![0; 9];
        server.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        let is_new = frame[3] == HEADERS && streams.insert(frame[5..9].to_vec());
        if is_new && Some(streams.len()) == lost {
            return Ok(());
        }
        frame.resize(9 + length as usize, 0);
        server.read_exact(&mut frame[9..]).await?;
        client.write_all(&frame).await?;
    }
}
