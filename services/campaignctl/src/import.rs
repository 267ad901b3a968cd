//! Imports leads from a file of any size in constant memory.
//!
//! One thread reads and parses, this task sends, and a bounded channel between them holds one chunk. One stream adds a
//! chunk. When the connection fails, the whole chunk is sent again, which is idempotent. A refused line does not affect
//! others. The lead list is declared complete only after all leads were acknowledged and none was refused, or if the caller
//! wants that anyway.

mod csv_records;
mod ndjson_records;
mod progress;
mod record;
mod refused;
mod report;
mod send;
mod source;

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, bail};
use campaign_metrics::pb;
use tokio::{sync::mpsc, task::spawn_blocking};

use self::{
    progress::Progress,
    refused::RefusedFile,
    report::{LeadList, Report},
    send::Sender,
    source::{Chunk, Source},
};
use crate::{
    args::{Format, Import},
    exit::Exit,
    target::Target,
};

/// Bytes of one read from the file. Larger reads are not faster.
const READ_BYTES: usize = 1 << 18;

/// Imports a file.
pub async fn run(target: &Target, command: Import) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let format = format_of(&command.file, command.format)?;
    let refused_path = command.refused.unwrap_or_else(|| refused_path(&command.file, format));
    let campaign = target.campaign(command.campaign);
    // One call without retries, so that a wrong server or campaign fails at once and not after a minute of retries.
    let request = pb::GetCampaignRequest { name: campaign.to_string() };
    let mut campaigns = target.service.campaigns();
    target.service.call(request, |request| campaigns.get_campaign(request)).await?;

    let path = command.file.clone();
    let (source, size) = spawn_blocking(move || open(&path, format)).await??;
    let mut refused = RefusedFile::new(refused_path, &command.file, source.columns())?;
    let progress = Progress::new(size);
    let sender = Sender::new(&target.service, &campaign);
    let mut report = Report::new(&command.file, &campaign);

    let (chunks, mut received) = mpsc::channel(1);
    let reading = spawn_blocking(move || source.read_all(&chunks));
    while let Some(chunk) = received.recv().await {
        add(&sender, &chunk, &progress, &mut refused, &mut report).await.with_context(|| failed(&report, &refused))?;
    }
    report.ignored_columns = reading.await?.with_context(|| failed(&report, &refused))?;
    refused.finish()?;
    if report.refused > 0 {
        report.refused_file = Some(refused.path().display().to_string());
    }
    report.lead_list = match (command.complete, report.refused) {
        _ if command.complete_anyway => LeadList::Complete,
        (false, _) => LeadList::Open,
        (true, 0) => LeadList::Complete,
        (true, _) => LeadList::NotDeclared,
    };
    if report.lead_list == LeadList::Complete {
        sender.complete(&progress).await?;
    }
    progress.finish();
    report.finish(started.elapsed());
    target.report(&report, report.cells(), || report.text())?;
    Ok(if report.refused > 0 { Exit::SomeRefused } else { Exit::Done })
}

/// Adds the leads of a chunk, and writes its refused lines in the order of the file.
async fn add(
    sender: &Sender<'_>,
    chunk: &Chunk,
    progress: &Progress,
    refused: &mut RefusedFile,
    report: &mut Report,
) -> anyhow::Result<()> {
    let answer = sender.add(chunk, progress).await?;
    report.added += answer.added;
    report.existing += answer.existing;
    let mut by_service = answer.refused.into_iter().peekable();
    for (index, record) in chunk.records.iter().enumerate() {
        if record.lines > 1 {
            report.spanning += 1;
            report.first_spanning_line.get_or_insert(record.line);
        }
        let reason = match &record.lead {
            Err(reason) => reason.clone(),
            Ok(_) => match by_service.next_if(|(refused, _)| *refused == index) {
                Some((_, reason)) => reason,
                None => continue,
            },
        };
        refused.write(record.line, &reason, &chunk.raw[record.raw.clone()])?;
        report.refused += 1;
    }
    refused.flush()?;
    progress.advance(chunk.end, report);
    Ok(())
}

fn failed(report: &Report, refused: &RefusedFile) -> String {
    let noted = match report.refused {
        0 => String::new(),
        count => format!(", {count} refused so far are in {}", refused.path().display()),
    };
    format!(
        "the import broke off ({} leads added, {} there already{noted}); running it again is safe",
        report.added, report.existing
    )
}

fn open(path: &Path, format: Format) -> anyhow::Result<(Source<BufReader<File>>, u64)> {
    let file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let size = file.metadata()?.len();
    let reader = BufReader::with_capacity(READ_BYTES, file);
    let source = Source::new(reader, format).with_context(|| format!("can't import {}", path.display()))?;
    Ok((source, size))
}

fn format_of(file: &Path, format: Option<Format>) -> anyhow::Result<Format> {
    let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
    match (format, extension.to_str()) {
        (Some(format), _) => Ok(format),
        (None, Some("csv")) => Ok(Format::Csv),
        (None, Some("ndjson" | "jsonl")) => Ok(Format::Ndjson),
        (None, _) => {
            bail!("the format of {} does not show in its name: say --format csv or --format ndjson", file.display())
        }
    }
}

fn refused_path(file: &Path, format: Format) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(match format {
        Format::Csv => ".refused.csv",
        Format::Ndjson => ".refused.ndjson",
    });
    name.into()
}
