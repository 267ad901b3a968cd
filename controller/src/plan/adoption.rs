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

/// Returns the settings for people, those that matter most first.
fn settings(campaign: &pb::Campaign) -> [(&'static str, String); 9] {
    let seconds = campaign.follow_up_delay.map_or(0, |delay| delay.seconds);
    let ids = campaign.accounts.iter().map(|name| name.rsplit('/').next().unwrap_or(name));
    let hours = campaign.active_hours.clone().unwrap_or_default();
    let windows =
        hours.windows.iter().map(|window| format!(" {:?} {} to {}", window.days, window.start_time, window.end_time));
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_owned();
    [
        ("accounts", or_none(ids.collect::<Vec<_>>().join(" "))),
        ("dailyLimit", campaign.daily_limit.map_or("none".to_owned(), |limit| limit.to_string())),
        ("state", word(campaign.state().as_str_name(), "CAMPAIGN_STATE_")),
        ("activeHours", format!("{}{}", hours.time_zone, windows.collect::<String>())),
        ("followUpDelay", format!("{seconds}s")),
        ("claimExpiryPolicy", word(campaign.claim_expiry_policy().as_str_name(), "CLAIM_EXPIRY_POLICY_")),
        ("settleSeconds", campaign.settle_seconds.unwrap_or_default().to_string()),
        ("attributionDays", campaign.attribution_days.unwrap_or_default().to_string()),
        ("displayName", or_none(campaign.display_name.clone())),
    ]
}
