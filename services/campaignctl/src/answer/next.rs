//! What was diagnosed, and the command that comes next after a finding.

use campaign_metrics::pb::{self, FindingKind, NotSendingReason as Reason};

use crate::view::id;

/// What was diagnosed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A campaign, by its id.
    Campaign(String),
    /// An account, by its id.
    Account(String),
}

impl Subject {
    /// Returns its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Campaign(id) | Self::Account(id) => id,
        }
    }
}

/// The command that shows more about a finding, or helps to act on it. Words in capitals stand for what the person decides.
pub fn next_command(subject: &Subject, finding: &pb::Finding) -> Option<String> {
    let blamed = finding.accounts.first().map(|blamed| id(&blamed.account));
    let command = match (subject, finding.kind(), blamed) {
        (Subject::Campaign(_), _, Some(account)) => format!("accounts diagnose {account}"),
        (Subject::Account(_), _, Some(campaign)) => format!("campaigns diagnose {campaign}"),
        (_, FindingKind::NotSending, None) => {
            match (finding.not_sending_reasons().find_map(|it| remedy(subject, it)), subject) {
                (Some(command), _) => command,
                (None, Subject::Campaign(campaign)) => format!("campaigns get {campaign}"),
                (None, Subject::Account(account)) => format!("accounts get {account}"),
            }
        }
        (Subject::Campaign(campaign), FindingKind::InvalidLeads, None) => {
            format!("leads list --campaign {campaign} --status failed")
        }
        (_, FindingKind::UncertainClaims, None) => {
            return remedy(subject, Reason::UncertainClaims).as_deref().map(whole);
        }
        (Subject::Campaign(campaign), FindingKind::LeadListOpen, None) => {
            format!("campaigns update {campaign} --lead-list-complete")
        }
        (Subject::Campaign(campaign), FindingKind::LowDelivery | FindingKind::RateLimiting, None) => {
            format!("campaigns history {campaign} --by-account")
        }
        (Subject::Account(account), FindingKind::LowDelivery | FindingKind::RateLimiting, None) => {
            format!("accounts history {account}")
        }
        _ => return None,
    };
    Some(whole(&command))
}

fn whole(command: &str) -> String {
    format!("campaignctl {command}")
}

/// The command that ends a reason for not sending, or shows which accounts or claims it is about.
fn remedy(subject: &Subject, reason: Reason) -> Option<String> {
    Some(match (subject, reason) {
        (Subject::Campaign(campaign), Reason::Paused) => format!("campaigns resume {campaign}"),
        (Subject::Campaign(campaign), Reason::CampaignDailyLimit) => {
            format!("campaigns update {campaign} --daily-limit N")
        }
        (Subject::Campaign(campaign), Reason::NoAccountAssigned) => {
            format!("campaigns update {campaign} --add-account ACCOUNT")
        }
        (
            Subject::Campaign(campaign),
            Reason::AccountDailyLimit | Reason::AccountSuspended | Reason::AccountRemoved,
        ) => format!("campaigns accounts {campaign}"),
        (Subject::Campaign(campaign), Reason::UncertainClaims) => {
            format!("claims list --campaign {campaign} --state uncertain")
        }
        (Subject::Account(account), Reason::UncertainClaims) => {
            format!("claims list --account {account} --state uncertain")
        }
        (Subject::Account(account), Reason::AccountDailyLimit) => format!("accounts update {account} --daily-limit N"),
        (Subject::Account(account), Reason::AccountSuspended) => format!("accounts reinstate {account}"),
        (Subject::Account(account), Reason::NoAccountAssigned) => {
            format!("campaigns update CAMPAIGN --add-account {account}")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;

    /// What was diagnosed, the finding with the accounts or campaigns it blames and its reasons, and the command.
    type Case<'a> = (&'a Subject, FindingKind, &'a [&'a str], &'a [Reason], &'a str);

    fn next(subject: &Subject, kind: FindingKind, accounts: &[&str], reasons: &[Reason]) -> String {
        let blamed = |name: &&str| pb::BlamedAccount { account: (*name).to_owned(), ..Default::default() };
        let finding = pb::Finding {
            kind: kind.into(),
            accounts: accounts.iter().map(blamed).collect(),
            not_sending_reasons: reasons.iter().map(|reason| (*reason).into()).collect(),
            ..pb::Finding::default()
        };
        next_command(subject, &finding).unwrap_or_default()
    }

    #[test]
    fn the_next_command_follows_from_the_finding() {
        let (campaign, account) = (Subject::Campaign("spring".into()), Subject::Account("ann".into()));
        let in_campaign = "workspaces/acme/campaigns/spring";
        let cases: [Case<'_>; 12] = [
            (&account, FindingKind::AccountIssues, &[in_campaign], &[], "campaigns diagnose spring"),
            (&campaign, FindingKind::NotSending, &[], &[Reason::Paused], "campaigns resume spring"),
            (&campaign, FindingKind::NotSending, &[], &[], "campaigns get spring"),
            (&campaign, FindingKind::NotSending, &[], &[Reason::NoLeadDue], "campaigns get spring"),
            (
                &campaign,
                FindingKind::NotSending,
                &[],
                &[Reason::OutsideActiveHours, Reason::CampaignDailyLimit],
                "campaigns update spring --daily-limit N",
            ),
            (
                &campaign,
                FindingKind::NotSending,
                &[],
                &[Reason::NoAccountAssigned],
                "campaigns update spring --add-account ACCOUNT",
            ),
            (&campaign, FindingKind::UncertainClaims, &[], &[], "claims list --campaign spring --state uncertain"),
            (&account, FindingKind::UncertainClaims, &[], &[], "claims list --account ann --state uncertain"),
            (&campaign, FindingKind::LeadListOpen, &[], &[], "campaigns update spring --lead-list-complete"),
            (&account, FindingKind::NotSending, &[], &[Reason::AccountSuspended], "accounts reinstate ann"),
            (
                &account,
                FindingKind::NotSending,
                &[],
                &[Reason::AccountDailyLimit],
                "accounts update ann --daily-limit N",
            ),
            (
                &account,
                FindingKind::NotSending,
                &[],
                &[Reason::NoAccountAssigned],
                "campaigns update CAMPAIGN --add-account ann",
            ),
        ];
        for (subject, kind, accounts, reasons, expected) in cases {
            let command = next(subject, kind, accounts, reasons);
            assert_eq!(command, format!("campaignctl {expected}"));
            let line = command.replace('N', "7").replace("CAMPAIG7", "c").replace("ACCOU7T", "a");
            assert!(Args::command().try_get_matches_from(line.split(' ')).is_ok(), "there is such a command: {line}");
        }
        assert_eq!(next(&campaign, FindingKind::LowResponse, &[], &[]), "");
    }
}
