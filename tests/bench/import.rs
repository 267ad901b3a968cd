//! The import of a large file, as a person runs it: how fast it goes, and that its memory does not grow with the file.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    harness::parts::binary,
    load::Load,
    report::{Report, Target},
    stage::{Service, Stage, peak_mib},
};

/// Lines of the two files.
const LINES: [u32; 2] = [1_000_000, 10_000_000];
/// Interval of looks at the memory. The peak is the kernel's, so only what comes after the last look is missed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    let database = stage.database_once(Load::Pending { leads: 1000 }).await?;
    let service = stage.service(&database).await?;
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for lines in LINES {
        stage.progress.step(&format!("import of {lines} lines"));
        let file = stage.file("leads.csv");
        write(&file, lines)?;
        let (rate, peak) = import(&service, &file, lines).await?;
        rates.push(rate);
        peaks.push(peak);
        std::fs::remove_file(&file)?;
    }
    report.ratio("import", "leads/s", &rates[1..], &rates[..1], Target::AtLeast(0.5));
    report.ratio("import_memory", "MiB peak", &peaks[1..], &peaks[..1], Target::AtMost(1.3));
    service.stop().await?;
    database.remove().await
}

/// Writes an export as spreadsheets do. Every thousandth line repeats the one before, and every 1009th has no id.
fn write(path: &Path, lines: u32) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all("\u{feff}Name;E-Mail;Account;Notes\r\n".as_bytes())?;
    for number in 1..=lines {
        let id = if number % 1000 == 0 { number - 1 } else { number };
        match number % 1009 {
            0 => write!(file, "Vale, Ada;;a1;no mail\r\n")?,
            _ => write!(file, "Vale, Ada;lead-{lines}-{id}@example.com;a{};\"says \"\"hi\"\"\"\r\n", id % 4 + 1)?,
        }
    }
    Ok(file.flush()?)
}

/// Returns leads a second, and the peak of memory.
async fn import(service: &Service, file: &Path, lines: u32) -> Result<(f64, f64)> {
    let mut command = Command::new(binary("campaignctl")?);
    command.args(["--server", &service.url, "-w", "w1", "-o", "json", "leads", "import", "-c", "c1"]);
    command.args(["--id-column", "e-mail"]).arg(file);
    let started = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let process = child.id().context("it runs")?;
    let mut peak = 0.0;
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    let output = loop {
        tokio::select! {
            output = &mut ended => break output?,
            () = tokio::time::sleep(LOOK_EVERY) => peak = peak_mib(process).unwrap_or(peak),
        }
    };
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let count = |field: &str| report[field].as_u64().unwrap_or_default();
    let told = count("added") + count("existing") + count("repeated") + count("refused");
    ensure!(told == u64::from(lines) && count("refused") > 0 && count("repeated") > 0, "void: {report}");
    Ok((f64::from(lines) / started.elapsed().as_secs_f64(), peak))
}
