//! The report of an import, for people and for programs.

use std::{fmt::Write as _, time::Duration};

use campaign_metrics::name::CampaignName;
use serde::Serialize;

use super::seen::Repeats;

/// Whether the import declared the lead list complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LeadList {
    /// Not requested: more leads can follow.
    Open,
    /// Declared complete.
    Complete,
    /// Requested without `--complete-anyway`, but lines were refused.
    NotDeclared,
    /// Requested, but the campaign was finished with an open list, and stays as it is.
    Finished,
}

/// The report of an import.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The file.
    pub file: String,
    /// Id of the campaign.
    campaign: String,
    /// Leads added.
    pub added: i64,
    /// Leads that existed before.
    pub existing: i64,
    /// Lines that repeat a lead of the file.
    pub repeated: i64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_repeated_line: Option<u64>,
    /// The line that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_repeat_of_line: Option<u64>,
    /// Lines that were refused.
    pub refused: u64,
    /// File of the refused lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_file: Option<String>,
    /// Records that span several lines, by line breaks within quotes.
    pub spanning: u64,
    /// Line on which the first of them begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_spanning_line: Option<u64>,
    /// Leads whose ids look like long numbers that a spreadsheet rounded.
    pub rounded: u64,
    /// Line of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_rounded_line: Option<u64>,
    /// Columns that were ignored.
    pub ignored_columns: Vec<String>,
    /// Whether the lead list was declared complete.
    pub lead_list: LeadList,
    elapsed_seconds: f64,
    leads_per_second: f64,
}

impl Report {
    /// Creates an empty report.
    pub fn new(file: &str, campaign: &CampaignName) -> Self {
        Self {
            file: file.to_owned(),
            campaign: campaign.campaign.to_string(),
            added: 0,
            existing: 0,
            repeated: 0,
            first_repeated_line: None,
            first_repeat_of_line: None,
            refused: 0,
            refused_file: None,
            spanning: 0,
            first_spanning_line: None,
            rounded: 0,
            first_rounded_line: None,
            ignored_columns: Vec::new(),
            lead_list: LeadList::Open,
            elapsed_seconds: 0.0,
            leads_per_second: 0.0,
        }
    }

    /// Tells repeats within the file apart from leads that existed before it. The service takes both as existing.
    pub fn tell_repeats(&mut self, repeats: Repeats) {
        self.repeated = i64::try_from(repeats.count).unwrap_or(i64::MAX).min(self.existing);
        self.existing -= self.repeated;
        (self.first_repeated_line, self.first_repeat_of_line) = repeats.first.unzip();
    }

    /// Returns how many leads the service acknowledged.
    pub fn acknowledged(&self) -> i64 {
        self.added + self.existing + self.repeated
    }

    /// Sets the duration and the rate.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people; exact up to 2^53 leads")]
    pub fn finish(&mut self, elapsed: Duration) {
        self.elapsed_seconds = elapsed.as_secs_f64();
        self.leads_per_second = self.acknowledged() as f64 / self.elapsed_seconds.max(f64::MIN_POSITIVE);
    }

    /// Returns its cells in CSV, each with the name of its column.
    pub fn cells(&self) -> Vec<(&str, String)> {
        let lead_list = match self.lead_list {
            LeadList::Open => "OPEN",
            LeadList::Complete => "COMPLETE",
            LeadList::NotDeclared => "NOT_DECLARED",
            LeadList::Finished => "FINISHED",
        };
        let line = |line: Option<u64>| line.map(|line| line.to_string()).unwrap_or_default();
        vec![
            ("file", self.file.clone()),
            ("campaign", self.campaign.clone()),
            ("added", self.added.to_string()),
            ("existing", self.existing.to_string()),
            ("repeated", self.repeated.to_string()),
            ("firstRepeatedLine", line(self.first_repeated_line)),
            ("firstRepeatOfLine", line(self.first_repeat_of_line)),
            ("refused", self.refused.to_string()),
            ("refusedFile", self.refused_file.clone().unwrap_or_default()),
            ("spanning", self.spanning.to_string()),
            ("firstSpanningLine", line(self.first_spanning_line)),
            ("rounded", self.rounded.to_string()),
            ("firstRoundedLine", line(self.first_rounded_line)),
            ("ignoredColumns", self.ignored_columns.join(";")),
            ("leadList", lead_list.to_owned()),
            ("elapsedSeconds", self.elapsed_seconds.to_string()),
            ("leadsPerSecond", self.leads_per_second.to_string()),
        ]
    }

    /// Renders it for people. `options` are those that the refused lines need again.
    pub fn text(&self, options: &str) -> String {
        let Self { file, campaign, .. } = self;
        let mut text = format!(
            "imported {file} into {campaign} in {:.1} s ({:.0} leads/s)\n  added     {}\n  existing  {}\n  refused   {}",
            self.elapsed_seconds, self.leads_per_second, self.added, self.existing, self.refused
        );
        let mut line = |line: String| write!(text, "\n  {line}").expect("writing to a String does not fail");
        if let (Some(repeat), Some(of)) = (self.first_repeated_line, self.first_repeat_of_line) {
            line(format!("repeated  {}, the first on line {repeat}: its lead is on line {of}, too", self.repeated));
        }
        if !self.ignored_columns.is_empty() {
            line(format!("ignored columns: {}", self.ignored_columns.join(", ")));
        }
        if let Some(first) = self.first_spanning_line {
            let records = if self.spanning == 1 { "record spans" } else { "records span" };
            line(format!(
                "{} {records} several lines, the first from line {first} on: a stray quote would do that, too",
                self.spanning
            ));
        }
        if let Some(first) = self.first_rounded_line {
            let ids = if self.rounded == 1 {
                "id looks like a number that a spreadsheet"
            } else {
                "ids look like numbers that a spreadsheet"
            };
            line(format!(
                "{} {ids} rounded, the first on line {first}: several leads may have become one; export the column as text",
                self.rounded
            ));
        }
        if self.acknowledged() == 0 && self.refused == 0 {
            line("there was no lead in the file".to_owned());
        }
        match self.lead_list {
            LeadList::Open => {}
            LeadList::Complete => line("the lead list is complete".to_owned()),
            LeadList::NotDeclared => line("the lead list was not declared complete, as lines were refused".to_owned()),
            LeadList::Finished => {
                line(
                    "the campaign is finished: every lead of the file is in it, and its lead list stays as it is"
                        .to_owned(),
                );
            }
        }
        if let Some(refused) = &self.refused_file {
            let complete = if self.lead_list == LeadList::NotDeclared { " --complete" } else { "" };
            line(format!("repair the refused lines in {refused}, then"));
            line(format!("campaignctl leads import {} --campaign {campaign}{options}{complete}", quoted(refused)));
        }
        text
    }
}

/// Returns a word for a shell: in quotes if it needs them.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@%+=:,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(added: i64, existing: i64, refused: u64) -> Report {
        let campaign = "workspaces/acme/campaigns/spring".parse().unwrap();
        let mut report = Report::new("leads.csv", &campaign);
        (report.added, report.existing, report.refused) = (added, existing, refused);
        report.finish(Duration::from_millis(2500));
        report
    }

    #[test]
    fn people_are_told_how_many_leads_there_were_and_how_fast_they_went() {
        let expected = "imported leads.csv into spring in 2.5 s (18 leads/s)\n  \
            added     40\n  existing  5\n  refused   3";
        assert_eq!(report(40, 5, 3).text(""), expected);
    }

    #[test]
    fn people_are_told_of_records_that_span_lines() {
        let mut spanning = report(40, 5, 3);
        assert!(!spanning.text("").contains("span"));
        (spanning.spanning, spanning.first_spanning_line) = (1, Some(17));
        assert!(spanning.text("").contains("\n  1 record spans several lines, the first from line 17 on: a stray"));
        spanning.spanning = 2;
        assert!(spanning.text("").contains("\n  2 records span several lines, the first from line 17 on: a stray"));
    }

    #[test]
    fn people_are_told_of_repeats_within_the_file_and_of_ids_that_were_rounded() {
        let mut report = report(40, 5, 0);
        report.tell_repeats(Repeats { count: 2, first: Some((9, 8)) });
        (report.rounded, report.first_rounded_line) = (1, Some(17));
        let expected = "  added     40\n  existing  3\n  refused   0\n  \
            repeated  2, the first on line 9: its lead is on line 8, too\n  \
            1 id looks like a number that a spreadsheet rounded, the first on line 17: several";
        assert!(report.text("").contains(expected), "{}", report.text(""));
    }

    #[test]
    fn the_command_for_the_refused_lines_can_be_pasted() {
        let mut report = report(40, 5, 3);
        (report.refused_file, report.lead_list) = (Some("my leads' file.csv".into()), LeadList::NotDeclared);
        let expected =
            "campaignctl leads import 'my leads'\\'' file.csv' --campaign spring --id-column E-Mail --complete";
        assert!(report.text(" --id-column E-Mail").ends_with(expected), "{}", report.text(""));
    }

    #[test]
    fn csv_has_the_columns_of_json() {
        let mut report = report(40, 5, 3);
        report.refused_file = Some("leads.csv.refused.csv".into());
        (report.spanning, report.first_spanning_line) = (4, Some(17));
        (report.rounded, report.first_rounded_line) = (6, Some(19));
        report.tell_repeats(Repeats { count: 2, first: Some((9, 8)) });
        let json = serde_json::to_value(&report).unwrap();
        let cells = report.cells();
        assert_eq!(cells.len(), json.as_object().unwrap().len());
        for (column, cell) in cells {
            let value = match &json[column] {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(_) => String::new(),
                other => other.to_string().trim_end_matches(".0").to_owned(),
            };
            assert_eq!(cell, value, "{column}");
        }
    }

    #[test]
    fn only_a_file_in_which_there_was_no_lead_is_said_to_have_none() {
        let is_said = |report: &Report| report.text("").contains("there was no lead in the file");
        assert!(is_said(&report(0, 0, 0)));
        for (added, existing, refused) in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 3, 0)] {
            assert!(
                !is_said(&report(added, existing, refused)),
                "{added} added, {existing} existing, {refused} refused"
            );
        }
    }
}
