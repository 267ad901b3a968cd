//! Exports all leads or outcomes of a campaign, as of one moment, as CSV or NDJSON.
//!
//! Rows are written while they arrive, in constant memory. A file gets its name only when it is complete.

mod row;
mod sink;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use campaign_metrics::pb;
use indicatif::ProgressBar;
use tonic::{Status, Streaming};

use self::{
    row::{Row, header},
    sink::Sink,
};
use crate::{
    args::{Export, Output},
    call::Service,
    exit::Exit,
    target::{Target, print},
    view::{self, Document},
};

/// Longest wait for a message. The service reads a portion in at most 30 s.
const MESSAGE_MAX: Duration = Duration::from_mins(1);
/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv,
    Ndjson,
}

/// A message of an export.
trait Part: Sized {
    /// What it exports.
    type Item: Row;
    /// Their name, in plural.
    const ITEMS: &'static str;

    /// Takes the message apart: the moment and the counts, which the first message has, and the items.
    fn apart(self) -> (Option<prost_types::Timestamp>, Option<pb::LeadCounts>, Vec<Self::Item>);
}

impl Part for pb::ExportLeadsResponse {
    type Item = pb::Lead;
    const ITEMS: &'static str = "leads";

    fn apart(self) -> (Option<prost_types::Timestamp>, Option<pb::LeadCounts>, Vec<pb::Lead>) {
        (self.as_of_time, self.lead_counts, self.leads)
    }
}

impl Part for pb::ExportOutcomesResponse {
    type Item = pb::LeadOutcome;
    const ITEMS: &'static str = "outcomes";

    fn apart(self) -> (Option<prost_types::Timestamp>, Option<pb::LeadCounts>, Vec<pb::LeadOutcome>) {
        (self.as_of_time, self.lead_counts, self.outcomes)
    }
}

/// Exports a campaign.
pub async fn run(target: &Target, command: Export) -> anyhow::Result<Exit> {
    tokio::select! {
        exit = export(target, command) => exit,
        // The unfinished file is removed.
        _ = tokio::signal::ctrl_c() => bail!("interrupted; nothing was kept"),
    }
}

async fn export(target: &Target, Export { of, outcomes, file }: Export) -> anyhow::Result<Exit> {
    let form = form_of(target.output, file.as_deref())?;
    let mut client = target.service.leads();
    let parent = target.campaign(of.campaign.clone()).to_string();
    // The first answer before the file: a campaign that does not exist leaves no trace.
    let text = if outcomes {
        let request = pb::ExportOutcomesRequest { parent };
        let open = async |left| target.service.within(left, client.export_outcomes(request.clone())).await;
        let stream = target.service.once_ready(open).await?;
        write_all(&target.service, stream, form, Sink::open(file.as_deref())?).await?
    } else {
        let request = pb::ExportLeadsRequest { parent };
        let open = async |left| target.service.within(left, client.export_leads(request.clone())).await;
        let stream = target.service.once_ready(open).await?;
        write_all(&target.service, stream, form, Sink::open(file.as_deref())?).await?
    };
    let Some(text) = text else { return Ok(Exit::Done) };
    match file {
        Some(file) => print(&format!("{} of {} in {}", text, of.campaign, file.display())),
        None if io::stderr().is_terminal() => {
            eprintln!("{text} of {}", of.campaign);
            Ok(Exit::Done)
        }
        None => Ok(Exit::Done),
    }
}

/// A table is the default of all commands; here it means the form that the name of the file says, else CSV.
fn form_of(output: Output, file: Option<&Path>) -> anyhow::Result<Form> {
    let extension = file.and_then(Path::extension).unwrap_or_default().to_ascii_lowercase();
    match (output, extension.to_str()) {
        (Output::Ndjson, _) | (Output::Table, Some("ndjson" | "jsonl")) => Ok(Form::Ndjson),
        (Output::Csv | Output::Table, _) => Ok(Form::Csv),
        (Output::Json, _) => bail!("an export is written line by line: say -o ndjson or -o csv"),
    }
}

/// Writes a stream to its end. Returns what was written, in words; `None` if nobody reads it any more.
async fn write_all<P: Part>(
    service: &Service,
    mut stream: Streaming<P>,
    form: Form,
    mut sink: Sink,
) -> anyhow::Result<Option<String>> {
    let progress = ProgressBar::new_spinner();
    let (mut as_of, mut total, mut written) = (None, 0, 0_i64);
    let mut text = match form {
        Form::Csv => header::<P::Item>()?,
        Form::Ndjson => Vec::new(),
    };
    loop {
        let next = tokio::time::timeout(MESSAGE_MAX, stream.message());
        let silent = || Status::deadline_exceeded(format!("no answer within {} s", MESSAGE_MAX.as_secs()));
        let message = next.await.map_err(|_| silent()).flatten().map_err(|status| service.failure(status));
        let broken = || format!("the export broke off after {written} {}; nothing was kept", P::ITEMS);
        let part = message.with_context(broken)?;
        let is_last = part.is_none();
        if let Some(part) = part {
            let (moment, counts, items) = part.apart();
            as_of = as_of.or(moment);
            total = counts.map_or(total, |counts| counts.total);
            text = match form {
                Form::Csv => csv_rows(&items, text)?,
                Form::Ndjson => ndjson_rows(&items, text)?,
            };
            written += i64::try_from(items.len())?;
            progress.set_message(format!("{written} {} of {total} leads", P::ITEMS));
            progress.tick();
        }
        match sink.write_all(&text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            outcome => outcome.context("can't write the export")?,
        }
        text.clear();
        if is_last {
            break;
        }
    }
    progress.finish_and_clear();
    sink.finish()?;
    let moment = view::time(as_of.as_ref()).context("the service did not say as of which moment")?;
    Ok(Some(format!("{written} {}, as of {moment},", P::ITEMS)))
}

/// Adds rows of CSV to a text.
fn csv_rows<R: Row>(items: &[R], text: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(text);
    for item in items {
        item.write(&mut writer)?;
    }
    Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

/// Adds lines of NDJSON to a text.
fn ndjson_rows<R: Row>(items: &[R], mut text: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    for item in items {
        serde_json::to_writer(&mut text, &Document::new(item)?)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_said_or_shows_in_the_name_of_the_file() {
        let form = |output, file: &str| form_of(output, Some(Path::new(file)));
        assert_eq!(form(Output::Table, "leads.NDJSON").unwrap(), Form::Ndjson);
        assert_eq!(form(Output::Table, "leads.jsonl").unwrap(), Form::Ndjson);
        assert_eq!(form(Output::Table, "leads.csv").unwrap(), Form::Csv);
        assert_eq!(form(Output::Table, "leads").unwrap(), Form::Csv);
        assert_eq!(form(Output::Csv, "leads.ndjson").unwrap(), Form::Csv, "what is said counts");
        assert_eq!(form_of(Output::Ndjson, None).unwrap(), Form::Ndjson);
        assert_eq!(form_of(Output::Table, None).unwrap(), Form::Csv);
        assert!(form(Output::Json, "leads.csv").unwrap_err().to_string().contains("-o ndjson"));
    }
}
