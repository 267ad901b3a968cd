//! A diagnosis for people: the verdict, then each finding with its evidence and what to do, then what is not known yet.

use campaign_metrics::pb::{self, FindingKind, Severity};

use super::next::{Subject, next_command};
use crate::view::{Align, Grid, counted, id, interval, or_dash, rate_text, reasons, second, wrap};

/// Renders a diagnosis.
pub fn text(subject: &Subject, diagnosis: &pb::Diagnosis) -> String {
    let mut blocks = vec![wrap("", &verdict(subject, diagnosis))];
    blocks.extend(diagnosis.findings.iter().map(|finding| self::finding(subject, finding)));
    if !diagnosis.open_questions.is_empty() {
        blocks.push(open_questions(&diagnosis.open_questions));
    }
    blocks.join("\n")
}

/// Says in a sentence how much is wrong.
fn verdict(subject: &Subject, diagnosis: &pb::Diagnosis) -> String {
    let count = |severity| {
        let is_this = |finding: &&pb::Finding| finding.severity() == severity;
        i64::try_from(diagnosis.findings.iter().filter(is_this).count()).unwrap_or(i64::MAX)
    };
    let (critical, warnings) = (count(Severity::Critical), count(Severity::Warning));
    let notes = i64::try_from(diagnosis.findings.len()).unwrap_or(i64::MAX) - critical - warnings;
    let parts: Vec<String> = [(critical, "critical finding"), (warnings, "warning"), (notes, "note")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| counted(count, noun))
        .collect();
    let open = match i64::try_from(diagnosis.open_questions.len()).unwrap_or(i64::MAX) {
        0 => String::new(),
        count => format!(" {} can't be answered yet.", counted(count, "question")),
    };
    let as_of = second(diagnosis.as_of_time.as_ref()).map(|time| format!(" (as of {time})")).unwrap_or_default();
    let id = subject.id();
    let needs = match (critical, warnings) {
        (1.., _) => "needs attention now",
        (_, 1..) => "needs attention within days",
        _ => "is worth a look",
    };
    if parts.is_empty() {
        return format!("Nothing is wrong with {id} as far as its messages show{as_of}.{open}");
    }
    format!("{id} {needs}: {}{as_of}.{open}", parts.join(", "))
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "CRITICAL",
        Severity::Warning => "WARNING",
        Severity::Info | Severity::Unspecified => "NOTE",
    }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::AccountIssues => "account issues",
        FindingKind::InvalidLeads => "invalid leads",
        FindingKind::RateLimiting => "rate limiting",
        FindingKind::ContentRejected => "content rejected",
        FindingKind::LowDelivery => "low delivery",
        FindingKind::LowResponse => "low response",
        FindingKind::LowConversion => "low conversion",
        FindingKind::NotSending => "nothing is sent",
        FindingKind::UncertainClaims => "uncertain claims",
        FindingKind::LeadListOpen => "lead list open",
        FindingKind::Unspecified => "another finding; update campaignctl to see its kind",
    }
}

fn finding(subject: &Subject, finding: &pb::Finding) -> String {
    let mut text = wrap("", &format!("{}: {}", severity(finding.severity()), kind(finding.kind())));
    text += &wrap("  ", &finding.summary);
    for (label, value) in evidence(finding) {
        text += &wrap(&format!("    {label:10}"), &value);
    }
    if !finding.accounts.is_empty() {
        text += &blamed(&finding.accounts).text(4);
    }
    text += &wrap("  To do: ", &finding.action);
    let next = next_command(subject, finding).map(|command| format!("  Next:  {command}\n"));
    text + &next.unwrap_or_default()
}

/// The evidence of a finding as labels and values.
fn evidence(finding: &pb::Finding) -> Vec<(&'static str, String)> {
    let share = rate_text(finding.share.as_ref()).map(|share| match interval(finding.share_interval.as_ref()) {
        Some(interval) => format!("{share}, 95 % interval {interval}"),
        None => share,
    });
    let change = finding.change.as_ref();
    let since = change.map(|change| match (&change.earliest_day, &change.latest_day) {
        (earliest, latest) if earliest == latest => format!("{}, to the day", change.since_day),
        (earliest, latest) => format!("{}, between {earliest} and {latest}", change.since_day),
    });
    let side = |rate: Option<&pb::Rate>| change.map(|_| or_dash(rate_text(rate)));
    let lines = [
        ("Share", share),
        ("Others", finding.reference.as_ref().map(|rate| or_dash(rate_text(Some(rate))))),
        ("Age", (finding.age_days > 0).then(|| counted(finding.age_days.into(), "day"))),
        ("Since", since),
        ("Before", side(change.and_then(|change| change.before.as_ref()))),
        ("After", side(change.and_then(|change| change.after.as_ref()))),
        (
            "Volume",
            finding.messages_per_day.map(|count| format!("failures set in above {} a day", counted(count, "message"))),
        ),
        ("Reasons", Some(reasons(&finding.not_sending_reasons).join(", ")).filter(|reasons| !reasons.is_empty())),
        ("Claims", (finding.uncertain_claims > 0).then(|| format!("{} uncertain", finding.uncertain_claims))),
    ];
    lines.into_iter().filter_map(|(label, value)| Some((label, value?))).collect()
}

fn blamed(accounts: &[pb::BlamedAccount]) -> Grid {
    let is_campaign = accounts.iter().any(|blamed| blamed.account.contains("/campaigns/"));
    let head = if is_campaign { "CAMPAIGN" } else { "ACCOUNT" };
    let mut grid = Grid::new([
        (head, Align::Name),
        ("FAILED", Align::Right),
        ("SHARE", Align::Right),
        ("OTHERS", Align::Right),
        ("BY CHANCE", Align::Right),
    ]);
    for blamed in accounts {
        let (own, others) = (blamed.share.unwrap_or_default(), blamed.others_share.unwrap_or_default());
        let share = |rate: pb::Rate| or_dash(rate.ratio.map(crate::view::share));
        grid.row([
            id(&blamed.account).to_owned(),
            format!("{} of {}", own.numerator, own.denominator),
            share(own),
            share(others),
            chance(blamed.p_value),
        ]);
    }
    grid
}

/// Renders the probability that chance alone makes such a difference.
fn chance(p_value: f64) -> String {
    if p_value < 0.0001 { "<0.0001".to_owned() } else { format!("{p_value:.4}") }
}

fn open_questions(questions: &[pb::OpenQuestion]) -> String {
    let mut text = "Not known yet\n".to_owned();
    for question in questions {
        let when = second(question.expected_time.as_ref()).map(|time| format!(", expected by {time}"));
        let have = format!("{} of {} needed{}", question.have, question.need, when.unwrap_or_default());
        text += &wrap("  ", &format!("{}: {have}", kind(question.kind())));
        text += &wrap("    ", &question.summary);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::testing::{assert_fits, rate};

    fn campaign() -> Subject {
        Subject::Campaign("spring".into())
    }

    fn blocked() -> pb::Finding {
        pb::Finding {
            kind: FindingKind::AccountIssues.into(),
            severity: Severity::Critical.into(),
            summary:
                "Messages of ann fail since 2026-02-24 because the account is blocked, signed out or out of quota."
                    .into(),
            action: "Check the status of the account and review its errors.".into(),
            share: rate(310, 640),
            share_interval: Some(pb::Interval { lower: 0.446, upper: 0.523 }),
            accounts: vec![pb::BlamedAccount {
                account: "workspaces/acme/accounts/ann".into(),
                share: rate(307, 500),
                others_share: rate(3, 140),
                p_value: 2e-31,
            }],
            change: Some(pb::ShareChange {
                since_day: "2026-02-24".into(),
                earliest_day: "2026-02-23".into(),
                latest_day: "2026-02-25".into(),
                before: rate(4, 200),
                after: rate(306, 440),
            }),
            ..pb::Finding::default()
        }
    }

    fn diagnosis(findings: Vec<pb::Finding>, open_questions: Vec<pb::OpenQuestion>) -> pb::Diagnosis {
        let as_of_time = Some(prost_types::Timestamp { seconds: 1_772_448_720, nanos: 123_000_000 });
        pb::Diagnosis { as_of_time, findings, open_questions, rates: Vec::new() }
    }

    #[test]
    fn the_verdict_comes_first_then_evidence_then_what_to_do() {
        let text = text(&campaign(), &diagnosis(vec![blocked()], Vec::new()));
        let expected = "\
spring needs attention now: 1 critical finding (as of 2026-03-02T10:52:00Z).

CRITICAL: account issues
  Messages of ann fail since 2026-02-24 because the account is blocked, signed
  out or out of quota.
    Share     48.4 % (310 of 640), 95 % interval 44.6 to 52.3 %
    Since     2026-02-24, between 2026-02-23 and 2026-02-25
    Before    2.0 % (4 of 200)
    After     69.5 % (306 of 440)
    ACCOUNT      FAILED   SHARE  OTHERS  BY CHANCE
    ann      307 of 500  61.4 %   2.1 %    <0.0001
  To do: Check the status of the account and review its errors.
  Next:  campaignctl accounts diagnose ann
";
        assert_eq!(text, expected);
        assert_fits(&text);
    }

    #[test]
    fn nothing_wrong_is_said_in_a_sentence() {
        let text = text(&campaign(), &diagnosis(Vec::new(), Vec::new()));
        assert_eq!(text, "Nothing is wrong with spring as far as its messages show (as of\n2026-03-02T10:52:00Z).\n");
    }

    #[test]
    fn what_is_not_known_yet_says_how_much_is_missing_and_when_it_will_be_there() {
        let question = pb::OpenQuestion {
            kind: FindingKind::LowConversion.into(),
            summary: "It takes 1000 leads of at least 30 days to judge the conversion rate.".into(),
            have: 120,
            need: 1000,
            expected_time: Some(prost_types::Timestamp { seconds: 1_773_000_000, nanos: 0 }),
        };
        let other = pb::OpenQuestion { have: 1, need: 20, expected_time: None, ..question.clone() };
        let text = text(&campaign(), &diagnosis(Vec::new(), vec![question, other]));
        assert!(text.contains("2 questions can't be answered yet.\n"), "{text}");
        assert!(text.contains("  low conversion: 120 of 1000 needed, expected by 2026-03-08T20:00:00Z\n"), "{text}");
        assert!(text.contains("  low conversion: 1 of 20 needed\n"), "{text}");
        assert_fits(&text);
    }

    #[test]
    fn the_worst_severity_says_how_urgent_it_is() {
        let of = |severities: &[Severity]| {
            let finding = |severity: &Severity| pb::Finding { severity: (*severity).into(), ..blocked() };
            let diagnosis =
                pb::Diagnosis { as_of_time: None, ..diagnosis(severities.iter().map(finding).collect(), vec![]) };
            verdict(&campaign(), &diagnosis)
        };
        assert_eq!(of(&[Severity::Info]), "spring is worth a look: 1 note.");
        assert_eq!(
            of(&[Severity::Warning, Severity::Warning, Severity::Info]),
            "spring needs attention within days: 2 warnings, 1 note."
        );
        assert_eq!(
            of(&[Severity::Critical, Severity::Warning]),
            "spring needs attention now: 1 critical finding, 1 warning."
        );
    }

    #[test]
    fn evidence_that_is_absent_has_no_line_and_a_share_of_nothing_is_a_dash() {
        let bare = pb::Finding { kind: FindingKind::LeadListOpen.into(), ..pb::Finding::default() };
        assert_eq!(evidence(&bare), []);
        let finding = pb::Finding {
            kind: FindingKind::LowResponse.into(),
            share: rate(0, 0),
            reference: rate(0, 0),
            age_days: 7,
            messages_per_day: Some(400),
            not_sending_reasons: vec![pb::NotSendingReason::Paused.into()],
            uncertain_claims: 12,
            change: Some(pb::ShareChange { since_day: "2026-02-24".into(), before: rate(0, 0), ..Default::default() }),
            ..bare
        };
        let labels: Vec<_> = evidence(&finding).into_iter().map(|(label, value)| format!("{label}={value}")).collect();
        assert_eq!(labels[..2], ["Others=-", "Age=7 days"]);
        assert_eq!(labels[3..5], ["Before=-", "After=-"]);
        assert_eq!(
            labels[5..],
            ["Volume=failures set in above 400 messages a day", "Reasons=PAUSED", "Claims=12 uncertain"]
        );
    }

    #[test]
    fn long_ids_and_large_numbers_fit_into_80_columns() {
        let mut finding = blocked();
        let name = format!("workspaces/acme/accounts/{}@example.org", "long-".repeat(20));
        finding.accounts[0] = pb::BlamedAccount {
            account: name,
            share: rate(9_000_000_001, 10_000_000_003),
            others_share: rate(1, 9_999_999_999),
            p_value: 0.0321,
        };
        finding.summary = "word ".repeat(60);
        let text = text(&campaign(), &diagnosis(vec![finding], Vec::new()));
        assert!(text.contains("..") && text.contains("<0.01 %") && text.contains("0.0321"), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("  Next:")).collect();
        assert_fits(&lines.join("\n"));
    }
}
