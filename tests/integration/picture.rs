//! The picture at the top of the README: the screen of `campaignctl watch`, as a real one shows it. `make update` draws it
//! anew.

use std::{fmt::Write as _, time::Duration};

use anyhow::ensure;
use campaign_metrics::pb::{FailureReason, Outcome, OutcomeKind};
use tempfile::tempdir;

use crate::{
    harness::{
        golden::assert_golden,
        moved::MovedClock,
        service::Service,
        wait::{SOON, until},
    },
    terminal::Terminal,
    watching::watch,
    world::{add_leads, by_lead, create_account, create_campaign, pause, report_new, settings},
};

/// Columns of the terminal, and lines: enough for the campaigns.
const COLUMNS: usize = 80;
const LINES: usize = 11;

/// A campaign of the picture. The messages of some leads are known before the view begins, of others while it is open.
struct Shown {
    id: &'static str,
    leads: usize,
    reason: FailureReason,
    /// Delivered and failed before, and while the view is open.
    before: [usize; 2],
    during: [usize; 2],
    is_complete: bool,
}

const CAMPAIGNS: [Shown; 4] = [
    Shown {
        id: "partner-outreach",
        leads: 250,
        reason: FailureReason::AccountIssue,
        before: [61, 37],
        during: [0, 0],
        is_complete: false,
    },
    Shown {
        id: "product-news",
        leads: 600,
        reason: FailureReason::InvalidLead,
        before: [150, 3],
        during: [236, 4],
        is_complete: false,
    },
    Shown {
        id: "spring-launch",
        leads: 420,
        reason: FailureReason::RateLimited,
        before: [81, 9],
        during: [79, 11],
        is_complete: false,
    },
    Shown {
        id: "webinar",
        leads: 90,
        reason: FailureReason::InvalidLead,
        before: [88, 2],
        during: [0, 0],
        is_complete: true,
    },
];

impl Shown {
    /// The outcomes of the leads from `first` on.
    fn outcomes(&self, first: usize, [delivered, failed]: [usize; 2]) -> Vec<Outcome> {
        let outcome = |lead| {
            let lead_id = format!("l{lead}");
            if lead < first + delivered {
                return by_lead(self.id, &lead_id, 1, OutcomeKind::Delivered);
            }
            Outcome { reason: self.reason.into(), ..by_lead(self.id, &lead_id, 1, OutcomeKind::Failed) }
        };
        (first..first + delivered + failed).map(outcome).collect()
    }
}

/// The screen that was drawn. Only the codes that the view uses are known; of them only reversed text shows.
fn screen(drawn: &str) -> Vec<(String, bool)> {
    let mut lines = vec![(String::new(), false); LINES];
    let mut at = 0;
    for (number, part) in drawn.split("\u{1b}[").enumerate() {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic()).filter(|_| number > 0);
        let (code, text) = end.map_or(("", part), |end| part.split_at(end + 1));
        match code {
            "7m" => lines[at].1 = true,
            "J" => lines[at + 1..].fill((String::new(), false)),
            place if place.ends_with('H') => {
                at = place.split(';').next().and_then(|line| line.parse::<usize>().ok()).map_or(0, |line| line - 1);
                lines[at] = (String::new(), false);
            }
            _ => {}
        }
        lines[at].0.push_str(text);
    }
    lines
}

/// Draws a screen. Every line has its length, so that it fits with each font.
fn svg(lines: &[(String, bool)]) -> String {
    let (column, row, margin, head) = (8.4, 19.0, 14.0, 30.0);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (width, height) = (column * COLUMNS as f64 + 2.0 * margin, row * lines.len() as f64 + head + margin);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" \
         font-size=\"14\" role=\"img\" aria-labelledby=\"title\">
  <title id=\"title\">The screen of campaignctl watch: each campaign with its state, progress, failures, health, pace, \
         and when it will be ready.</title>
  <rect width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\" fill=\"#0d1117\"/>
  <g fill=\"#484f58\"><circle cx=\"20\" cy=\"15\" r=\"5\"/><circle cx=\"38\" cy=\"15\" r=\"5\"/>\
         <circle cx=\"56\" cy=\"15\" r=\"5\"/></g>
  <text x=\"76\" y=\"20\" fill=\"#8b949e\">campaignctl watch</text>\n"
    );
    let mut y = head + row;
    for (text, is_reversed) in lines {
        let text = text.trim_end();
        let length = column * f64::from(u16::try_from(text.chars().count()).expect("a line of a screen"));
        let mut fill = "#e6edf3";
        if *is_reversed {
            let top = y - 14.0;
            writeln!(
                svg,
                "  <rect x=\"{margin}\" y=\"{top}\" width=\"{length:.1}\" height=\"{row}\" fill=\"{fill}\"/>"
            )
            .expect("a string takes all");
            fill = "#0d1117";
        }
        if !text.is_empty() {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(
                svg,
                "  <text x=\"{margin}\" y=\"{y}\" textLength=\"{length:.1}\" xml:space=\"preserve\" fill=\"{fill}\">{text}</text>"
            )
            .expect("a string takes all");
        }
        y += row;
    }
    svg + "</svg>\n"
}

#[tokio::test]
async fn the_readme_opens_with_the_screen_of_watch() {
    let (service, directory) = (Service::start().await, tempdir().unwrap());
    create_account(&service, "anna", None).await;
    for shown in &CAMPAIGNS {
        create_campaign(&service, shown.id, settings(1, &["anna"])).await;
        add_leads(&service, shown.id, shown.leads, None, shown.is_complete).await;
        report_new(&service, shown.outcomes(0, shown.before)).await;
    }
    pause(&service, "partner-outreach").await;

    let clock = MovedClock::new(directory.path()).unwrap();
    let mut command = watch(&service.url, &["watch"]);
    clock.wind(&mut command).unwrap();
    // The view measures the pace by the monotonic clock.
    command.env_remove("FAKETIME_DONT_FAKE_MONOTONIC");
    let mut terminal = Terminal::start(command, u16::try_from(LINES).unwrap());
    terminal.shows("acme: 4 campaigns, 2 active").await;
    for shown in &CAMPAIGNS {
        let first = shown.before.iter().sum();
        if shown.during != [0, 0] {
            report_new(&service, shown.outcomes(first, shown.during)).await;
        }
    }
    terminal.shows("65.5 %").await;
    terminal.shows("42.9 %").await;
    clock.advance(Duration::from_hours(3)).unwrap();
    let lines = until("the pace of three hours", SOON, async || {
        let drawn = terminal.drawn();
        let lines = screen(&drawn);
        let is_whole = drawn.ends_with("\u{1b}[K") && lines[LINES - 1].0.contains("q quit");
        let paces = lines.iter().filter(|(text, _)| text.contains("/h ")).count();
        ensure!(is_whole && paces == CAMPAIGNS.len(), "{lines:#?}");
        Ok(lines)
    })
    .await
    .unwrap();
    assert_golden("docs/watch.svg", &svg(&lines));
    terminal.press("q");
    terminal.ends().await;
}
