//! Imports leads from a file of any size in constant memory.
//!
//! One thread reads and parses, this task sends, and a bounded channel between them holds one chunk. One stream adds a
//! chunk. When the connection fails, the whole chunk is sent again, which is idempotent. A refused line does not affect
//! others. The lead list is declared complete only after all leads were acknowledged and none was refused, or if the caller
//! wants that anyway.

mod csv_header;
mod csv_records;
mod csv_scan;
mod input;
mod json_records;
mod ndjson_records;
mod object;
mod progress;
mod record;
mod refused;
mod report;
mod seen;
mod send;
mod source;
mod window;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use campaign_metrics::name::CampaignName;
use tokio::{sync::mpsc, task::spawn_blocking};

use self::{
    input::{is_stdin, shown},
    progress::Progress,
    record::{Names, is_rounded},
    refused::RefusedFile,
    report::{LeadList, Report, quoted},
    seen::Seen,
    send::Sender,
    source::{Chunk, Columns, Source, format_of},
};
use crate::{args::Import, exit::Exit, target::Target};

/// Refused lines that stderr shows at once: enough to see what is wrong with a file.
const REFUSED_SHOWN: u64 = 10;

/// Imports a file.
pub async fn run(target: &Target, command: Import) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let campaign = target.campaign(command.campaign.clone());
    let mut import = Work::begin(target, &command, &campaign)
        .await
        .with_context(|| format!("can't import {} into {}", shown(&command.file), campaign.campaign))?;
    import.work(&command).await.with_context(|| import.broke_off())?;
    let report = &mut import.report;
    report.finish(started.elapsed());
    target.report(report, report.cells(), || report.text(&options(&command)))?;
    Ok(if report.refused > 0 { Exit::SomeRefused } else { Exit::Done })
}

/// An import at work.
struct Work<'a> {
    source: Option<Source>,
    refused: RefusedFile,
    progress: Progress,
    sender: Sender<'a>,
    seen: Seen,
    report: Report,
}

impl<'a> Work<'a> {
    /// Finds the campaign, and opens the files.
    async fn begin(target: &'a Target, command: &Import, campaign: &CampaignName) -> anyhow::Result<Self> {
        // One call without retries, so that a wrong server or campaign fails at once and not after a minute of retries.
        target.service.get_campaign(campaign.to_string()).await?;

        let (path, encoding, delimiter) = (command.file.clone(), command.encoding, command.delimiter);
        let format = command.format.or_else(|| format_of(&path));
        let names = names(command);
        let (source, size_bytes) = spawn_blocking(move || {
            let input = input::open(&path, encoding)?;
            let size_bytes = input.size_bytes;
            anyhow::Ok((Source::new(input, format, &names, delimiter)?, size_bytes))
        })
        .await??;
        let is_file = !is_stdin(&command.file) && size_bytes.is_some();
        let stem = if is_file { command.file.clone() } else { campaign.campaign.as_str().into() };
        let refused = command.refused.clone().unwrap_or_else(|| refused_path(&stem, &source.columns()));
        Ok(Self {
            refused: RefusedFile::new(refused, &command.file, source.columns())?,
            source: Some(source),
            progress: Progress::new(size_bytes),
            sender: Sender::new(&target.service, campaign),
            seen: Seen::new(),
            report: Report::new(&shown(&command.file), campaign),
        })
    }

    /// Adds all leads, and declares the lead list complete if that is wanted.
    async fn work(&mut self, command: &Import) -> anyhow::Result<()> {
        let source = self.source.take().context("a file is read once")?;
        let (chunks, mut received) = mpsc::channel(1);
        let reading = spawn_blocking(move || source.read_all(&chunks));
        while let Some(chunk) = received.recv().await {
            self.add(&chunk).await?;
        }
        self.report.ignored_columns = reading.await??;
        let seen = std::mem::replace(&mut self.seen, Seen::new());
        self.report.tell_repeats(spawn_blocking(move || seen.repeats()).await??);
        self.refused.finish()?;
        let report = &mut self.report;
        if report.refused > 0 {
            report.refused_file = Some(self.refused.path().display().to_string());
        }
        if let Some(more @ 1..) = report.refused.checked_sub(REFUSED_SHOWN) {
            self.progress.say(&format!("... and {more} more, all in {}", self.refused.path().display()));
        }
        report.lead_list = match (command.complete, report.refused) {
            _ if command.complete_anyway => LeadList::Complete,
            (false, _) => LeadList::Open,
            (true, 0) => LeadList::Complete,
            (true, _) => LeadList::NotDeclared,
        };
        if report.lead_list == LeadList::Complete && !self.sender.complete(&self.progress).await? {
            report.lead_list = LeadList::Finished;
        }
        self.progress.finish();
        Ok(())
    }

    /// Adds the leads of a chunk, and writes its refused lines in the order of the file.
    async fn add(&mut self, chunk: &Chunk) -> anyhow::Result<()> {
        let answer = self.sender.add(chunk, &self.progress).await?;
        let report = &mut self.report;
        report.added += answer.added;
        report.existing += answer.existing;
        let mut by_service = answer.refused.into_iter().peekable();
        for (index, record) in chunk.records.iter().enumerate() {
            if record.lines > 1 {
                report.spanning += 1;
                report.first_spanning_line.get_or_insert(record.line);
            }
            let by_service = by_service.next_if(|(refused, _)| *refused == index);
            let reason = match (&record.lead, by_service) {
                (Err(reason), _) => reason.clone(),
                (Ok(_), Some((_, reason))) => reason,
                (Ok(lead), None) => {
                    self.seen.note(&lead.lead_id, record.line)?;
                    if is_rounded(&lead.lead_id) {
                        report.rounded += 1;
                        report.first_rounded_line.get_or_insert(record.line);
                    }
                    continue;
                }
            };
            self.refused.write(record.line, &reason, &chunk.raw[record.raw.clone()])?;
            report.refused += 1;
            if report.refused <= REFUSED_SHOWN {
                self.progress.say(&format!("line {} is refused: {reason}", record.line));
            }
        }
        self.refused.flush()?;
        self.progress.advance(chunk.read_bytes, report);
        Ok(())
    }

    /// Says how far an import came that failed.
    fn broke_off(&self) -> String {
        let report = &self.report;
        let noted = match report.refused {
            0 => String::new(),
            count => format!(", {count} refused so far are in {}", self.refused.path().display()),
        };
        format!(
            "the import of {} broke off ({} leads added, {} there already{noted}); running it again is safe",
            report.file, report.added, report.existing
        )
    }
}

fn names(command: &Import) -> Names {
    Names {
        id: command.id_column.clone(),
        account: command.account_column.clone().unwrap_or_else(|| Names::default().account),
        needs_account: command.account_column.as_ref().is_some_and(|name| !name.is_empty()),
    }
}

/// Returns the options that an import of the refused lines needs again.
fn options(command: &Import) -> String {
    let mut options = String::new();
    let mut push = |name: &str, value: &str| options.extend([" --", name, " ", &quoted(value)]);
    if command.id_column != Names::default().id {
        push("id-column", &command.id_column);
    }
    if let Some(name) = &command.account_column {
        push("account-column", name);
    }
    match command.delimiter {
        Some(b'\t') => push("delimiter", "tab"),
        Some(delimiter) => push("delimiter", &char::from(delimiter).to_string()),
        None => {}
    }
    options
}

fn refused_path(file: &Path, columns: &Columns) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(match columns {
        Columns::Csv(..) => ".refused.csv",
        Columns::Ndjson => ".refused.ndjson",
    });
    name.into()
}
