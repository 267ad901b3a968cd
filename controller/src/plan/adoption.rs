//! Says what became of a campaign that a resource took over: from whom, and which settings were replaced.

use std::fmt::Write as _;

use campaign_metrics::pb;

use super::events::{Notice, Severity};

/// Returns the event for a campaign that existed before the resource with this UID applied its spec. `None` if it was the
/// resource's own already.
pub fn adoption_notice(before: &pb::Campaign, after: &pb::Campaign, uid: &str) -> Option<Notice> {
    let (reason, from) = match &before.owner {
        Some(owner) if owner.uid == uid => return None,
        Some(owner) => ("TakenOver", format!("of the resource {} with the UID {}", owner.resource, owner.uid)),
        None => ("Adopted", "without owner".to_owned()),
    };
    let leads = before.lead_counts.map_or(0, |counts| counts.total);
    let mut note = format!("took over the campaign {from}, with {leads} leads; ");
    let changed: Vec<_> =
        settings(before).into_iter().zip(settings(after)).filter(|(old, new)| old.1 != new.1).collect();
    if changed.is_empty() {
        note += "its settings are as before";
    }
    for (number, ((setting, old), (_, new))) in changed.into_iter().enumerate() {
        let separator = if number == 0 { "replaced " } else { ", " };
        // Writing to a text can't fail.
        let _ = write!(note, "{separator}{setting}: {old} by {new}");
    }
    let severity = if note.ends_with("as before") { Severity::Normal } else { Severity::Warning };
    Some(Notice::new(reason, severity, note))
}

/// Writes a delay as a resource has it, with the largest unit in which it is whole.
fn delay(seconds: i64) -> String {
    let units = [(3600, "h"), (60, "m")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds % length == 0).unwrap_or((1, "s"));
    format!("{}{unit}", seconds / length)
}

/// Returns the settings for people, in the words of the resource, those that matter most first.
fn settings(campaign: &pb::Campaign) -> [(&'static str, String); 9] {
    let seconds = campaign.follow_up_delay.map_or(0, |delay| delay.seconds);
    let ids = campaign.accounts.iter().map(|name| name.rsplit('/').next().unwrap_or(name));
    let hours = campaign.active_hours.clone().unwrap_or_default();
    let windows = hours.windows.iter().map(|window| {
        let days = window.days().map(|day| format!("{day:?} ")).collect::<Vec<_>>().concat();
        format!(" {days}{} to {}", window.start_time, window.end_time)
    });
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    [
        ("accounts", or_none(ids.collect::<Vec<_>>().join(" "))),
        ("dailyLimit", campaign.daily_limit.map_or("none".to_owned(), |limit| limit.to_string())),
        ("state", format!("{:?}", campaign.state())),
        ("activeHours", format!("{}{}", hours.time_zone, windows.collect::<String>())),
        ("followUpDelay", delay(seconds)),
        ("claimExpiryPolicy", format!("{:?}", campaign.claim_expiry_policy())),
        ("settleSeconds", campaign.settle_seconds.unwrap_or_default().to_string()),
        ("attributionDays", campaign.attribution_days.unwrap_or_default().to_string()),
        ("displayName", or_none(campaign.display_name.clone())),
    ]
}
