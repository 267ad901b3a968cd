//! Conversions of campaigns.

use std::time::Duration;

use jiff::{SignedDuration, civil::Weekday};

use super::{daily_limit, display_name, duration, etag, fields, parse_duration, rate, required, timestamp, within};
use crate::{
    campaign::{
        AdoptionPolicy, Campaign, CampaignField, CampaignSettings, CampaignState, ClaimExpiryPolicy, DeliveryHealth,
        FinishReason, Hold, LeadCounts, MessageCounts, Owner,
    },
    invalid::{Invalid, excerpt},
    lead::{FailureReason, STEPS_MAX, Step},
    name::{AccountName, WorkspaceId},
    not_sending::NotSending,
    pb,
    rate::Rate,
    schedule::{ActiveHours, WINDOWS_MAX, Window, parse_time_zone, time_zone_name},
    statistics::is_certain,
};

/// Default time until the next step is due.
const FOLLOW_UP_DELAY_DEFAULT: SignedDuration = SignedDuration::from_hours(24);
const FOLLOW_UP_DELAY_MAX: Duration = Duration::from_hours(365 * 24);
/// Seven days: mail bounces up to five days later.
const SETTLE_SECONDS_DEFAULT: i32 = 7 * 86_400;
const SETTLE_SECONDS_MAX: i32 = 30 * 86_400;
const ATTRIBUTION_DAYS_DEFAULT: i32 = 30;
const ATTRIBUTION_DAYS_MAX: i32 = 365;
/// Most accounts of a campaign.
const ACCOUNTS_MAX: usize = 1000;
/// Longest reason of a hold, in characters.
const HOLD_REASON_MAX: usize = 512;

/// Parses the settings of a campaign of `workspace`.
pub fn campaign_settings(campaign: &pb::Campaign, workspace: &WorkspaceId) -> Result<CampaignSettings, Invalid> {
    settings(campaign, workspace).map_err(|invalid| invalid.under("campaign"))
}

fn settings(campaign: &pb::Campaign, workspace: &WorkspaceId) -> Result<CampaignSettings, Invalid> {
    let steps = if campaign.steps == 0 { 1 } else { campaign.steps };
    let steps = within("steps", steps, 1, STEPS_MAX.into())?;
    let follow_up_delay = match campaign.follow_up_delay {
        None => FOLLOW_UP_DELAY_DEFAULT,
        Some(span) => parse_duration("follow_up_delay", span, Duration::ZERO, FOLLOW_UP_DELAY_MAX)?
            .try_into()
            .map_err(|_| Invalid::new("follow_up_delay", "is too long"))?,
    };
    Ok(CampaignSettings {
        display_name: display_name(&campaign.display_name)?,
        steps: Step::new(steps).ok_or_else(|| Invalid::new("steps", "must be from 1 to 16"))?,
        follow_up_delay,
        accounts: accounts(&campaign.accounts, workspace)?,
        active_hours: campaign.active_hours.as_ref().map(active_hours).transpose()?.unwrap_or_default(),
        daily_limit: daily_limit(campaign.daily_limit)?,
        claim_expiry_policy: match pb::ClaimExpiryPolicy::try_from(campaign.claim_expiry_policy) {
            Ok(pb::ClaimExpiryPolicy::Unspecified | pb::ClaimExpiryPolicy::Hold) => ClaimExpiryPolicy::Hold,
            Ok(pb::ClaimExpiryPolicy::Retry) => ClaimExpiryPolicy::Retry,
            Err(_) => return Err(Invalid::new("claim_expiry_policy", "must be HOLD or RETRY")),
        },
        settle_seconds: within(
            "settle_seconds",
            campaign.settle_seconds.unwrap_or(SETTLE_SECONDS_DEFAULT),
            0,
            SETTLE_SECONDS_MAX,
        )?,
        attribution_days: within(
            "attribution_days",
            campaign.attribution_days.unwrap_or(ATTRIBUTION_DAYS_DEFAULT),
            0,
            ATTRIBUTION_DAYS_MAX,
        )?,
        lead_list_complete: campaign.lead_list_complete,
    })
}

fn accounts(names: &[String], workspace: &WorkspaceId) -> Result<Vec<crate::name::AccountId>, Invalid> {
    if names.len() > ACCOUNTS_MAX {
        let problem = format!("has {} entries, at most {ACCOUNTS_MAX} fit", names.len());
        return Err(Invalid::new("accounts", problem));
    }
    let mut ids = Vec::with_capacity(names.len());
    for (index, text) in names.iter().enumerate() {
        let field = format!("accounts[{index}]");
        let name: AccountName = super::parse(&field, text)?;
        if name.workspace != *workspace {
            let problem = format!("`{}` belongs to another workspace than the campaign", excerpt(text));
            return Err(Invalid::new(field, problem));
        }
        ids.push(name.account);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn active_hours(hours: &pb::ActiveHours) -> Result<ActiveHours, Invalid> {
    let parse = || {
        if hours.windows.len() > WINDOWS_MAX {
            let problem = format!("has {} entries, at most {WINDOWS_MAX} fit", hours.windows.len());
            return Err(Invalid::new("windows", problem));
        }
        let windows = hours.windows.iter().enumerate().map(|(index, window)| {
            let days = window.days.iter().map(|day| weekday(*day)).collect::<Result<Vec<_>, _>>();
            days.and_then(|days| Window::new(&days, &window.start_time, &window.end_time))
                .map_err(|invalid| invalid.under(&format!("windows[{index}]")))
        });
        Ok(ActiveHours {
            time_zone: parse_time_zone(&hours.time_zone).map_err(|invalid| invalid.under("time_zone"))?,
            windows: windows.collect::<Result<_, _>>()?,
        })
    };
    parse().map_err(|invalid: Invalid| invalid.under("active_hours"))
}

fn weekday(day: i32) -> Result<Weekday, Invalid> {
    // The numbers of the enum are those of ISO 8601.
    i8::try_from(day)
        .ok()
        .and_then(|day| Weekday::from_monday_one_offset(day).ok())
        .ok_or_else(|| Invalid::new("days", format_args!("{day} is no day of the week")))
}

/// Parses which fields of a campaign an update changes.
pub fn campaign_fields(
    campaign: &pb::Campaign,
    mask: Option<&prost_types::FieldMask>,
) -> Result<Vec<CampaignField>, Invalid> {
    let known = [
        ("display_name", CampaignField::DisplayName),
        ("follow_up_delay", CampaignField::FollowUpDelay),
        ("accounts", CampaignField::Accounts),
        ("active_hours", CampaignField::ActiveHours),
        ("daily_limit", CampaignField::DailyLimit),
        ("claim_expiry_policy", CampaignField::ClaimExpiryPolicy),
        ("settle_seconds", CampaignField::SettleSeconds),
        ("attribution_days", CampaignField::AttributionDays),
        ("lead_list_complete", CampaignField::LeadListComplete),
    ];
    fields(mask, &known, |field| match field {
        CampaignField::DisplayName => !campaign.display_name.is_empty(),
        CampaignField::FollowUpDelay => campaign.follow_up_delay.is_some(),
        CampaignField::Accounts => !campaign.accounts.is_empty(),
        CampaignField::ActiveHours => campaign.active_hours.is_some(),
        CampaignField::DailyLimit => campaign.daily_limit.is_some(),
        CampaignField::ClaimExpiryPolicy => campaign.claim_expiry_policy != 0,
        CampaignField::SettleSeconds => campaign.settle_seconds.is_some(),
        CampaignField::AttributionDays => campaign.attribution_days.is_some(),
        CampaignField::LeadListComplete => campaign.lead_list_complete,
    })
}

/// Parses a state; unspecified means `None`.
pub fn parse_campaign_state(field: &str, state: i32) -> Result<Option<CampaignState>, Invalid> {
    match pb::CampaignState::try_from(state) {
        Ok(pb::CampaignState::Unspecified) => Ok(None),
        Ok(pb::CampaignState::Active) => Ok(Some(CampaignState::Active)),
        Ok(pb::CampaignState::Paused) => Ok(Some(CampaignState::Paused)),
        Ok(pb::CampaignState::Finished) => Ok(Some(CampaignState::Finished)),
        Err(_) => Err(Invalid::new(field, "must be ACTIVE, PAUSED or FINISHED")),
    }
}

/// Parses an adoption policy.
pub fn adoption_policy(policy: i32) -> Result<AdoptionPolicy, Invalid> {
    match pb::AdoptionPolicy::try_from(policy) {
        Ok(pb::AdoptionPolicy::Unspecified | pb::AdoptionPolicy::IfUnowned) => Ok(AdoptionPolicy::IfUnowned),
        Ok(pb::AdoptionPolicy::Never) => Ok(AdoptionPolicy::Never),
        Ok(pb::AdoptionPolicy::Always) => Ok(AdoptionPolicy::Always),
        Err(_) => Err(Invalid::new("adoption_policy", "must be IF_UNOWNED, NEVER or ALWAYS")),
    }
}

/// Parses the owner that applies a campaign.
pub fn parse_owner(owner: Option<pb::Owner>) -> Result<Owner, Invalid> {
    let owner = required("owner", owner)?;
    if owner.cluster.len() > 512 || owner.cluster.contains('\0') {
        return Err(Invalid::new("owner.cluster", "must have at most 512 bytes and no NUL"));
    }
    let text = |field: &str, text: &str| match text.len() {
        1..=512 if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(Invalid::new(field, "must have 1 to 512 bytes and no NUL")),
    };
    if owner.generation < 1 || owner.fencing_token < 0 {
        return Err(Invalid::new("owner.generation", "must be 1 or more, and the fencing token not negative"));
    }
    Ok(Owner {
        resource: text("owner.resource", &owner.resource)?,
        uid: text("owner.uid", &owner.uid)?,
        generation: owner.generation,
        fencing_token: owner.fencing_token,
        cluster: owner.cluster,
    })
}

/// Parses why a hold is placed.
pub fn hold_reason(text: &str) -> Result<&str, Invalid> {
    if text.chars().count() > HOLD_REASON_MAX || text.chars().any(char::is_control) {
        let problem = format!("must have at most {HOLD_REASON_MAX} characters and no control characters");
        return Err(Invalid::new("reason", problem));
    }
    Ok(text)
}

/// Renders active hours.
fn render_active_hours(hours: &ActiveHours) -> pb::ActiveHours {
    let windows = hours.windows.iter().map(|window| pb::ActiveWindow {
        days: window.days().map(|day| i32::from(day.to_monday_one_offset())).collect(),
        start_time: window.start_time(),
        end_time: window.end_time(),
    });
    pb::ActiveHours { time_zone: time_zone_name(&hours.time_zone).to_owned(), windows: windows.collect() }
}

impl From<CampaignState> for pb::CampaignState {
    fn from(state: CampaignState) -> Self {
        match state {
            CampaignState::Active => Self::Active,
            CampaignState::Paused => Self::Paused,
            CampaignState::Finished => Self::Finished,
        }
    }
}

impl From<NotSending> for pb::NotSendingReason {
    fn from(reason: NotSending) -> Self {
        match reason {
            NotSending::Paused => Self::Paused,
            NotSending::Finished => Self::Finished,
            NotSending::OutsideActiveHours => Self::OutsideActiveHours,
            NotSending::CampaignDailyLimit => Self::CampaignDailyLimit,
            NotSending::AccountDailyLimit => Self::AccountDailyLimit,
            NotSending::AccountSuspended => Self::AccountSuspended,
            NotSending::NoAccountAssigned => Self::NoAccountAssigned,
            NotSending::AccountRemoved => Self::AccountRemoved,
            NotSending::NoLeadDue => Self::NoLeadDue,
            NotSending::UncertainClaims => Self::UncertainClaims,
        }
    }
}

impl From<LeadCounts> for pb::LeadCounts {
    fn from(counts: LeadCounts) -> Self {
        let LeadCounts { sent, failed, pending, partial } = counts;
        Self { sent, failed, pending, partial, total: counts.total() }
    }
}

/// Renders messages by reason, in the order of `FailureReason::ALL`. Reasons that do not occur are left out.
pub(super) fn by_reason(counts: [i64; 5]) -> Vec<pb::ReasonCount> {
    let occurring = FailureReason::ALL.into_iter().zip(counts).filter(|(_, count)| *count != 0);
    occurring.map(|(reason, count)| pb::ReasonCount { reason: pb::FailureReason::from(reason).into(), count }).collect()
}

/// Renders the band of a delivery rate, and whether it is certain.
pub(super) fn delivery_health(rate: Rate) -> (i32, bool) {
    let band = DeliveryHealth::of(rate);
    let rendered = match band {
        None => pb::DeliveryHealth::Unspecified,
        Some(DeliveryHealth::High) => pb::DeliveryHealth::High,
        Some(DeliveryHealth::Moderate) => pb::DeliveryHealth::Moderate,
        Some(DeliveryHealth::Low) => pb::DeliveryHealth::Low,
    };
    (rendered.into(), band.is_some_and(|band| is_certain(rate, band)))
}

impl From<MessageCounts> for pb::MessageCounts {
    fn from(counts: MessageCounts) -> Self {
        Self {
            delivered: counts.delivered,
            failed: counts.failed,
            bounced: counts.bounced,
            failures: by_reason(counts.by_reason),
            contacted_leads: counts.contacted,
            replied_leads: counts.replied,
            converted_leads: counts.converted,
            auto_replied_leads: counts.auto_replied,
            opted_out_leads: counts.opted_out,
            conversion_value_micros: counts.conversion_value_micros,
        }
    }
}

impl From<Campaign> for pb::Campaign {
    fn from(campaign: Campaign) -> Self {
        let workspace = &campaign.name.workspace;
        let settings = campaign.settings;
        let counts = campaign.message_counts;
        let account_name = |account| AccountName { workspace: workspace.clone(), account }.to_string();
        let (delivery_health, delivery_health_certain) = delivery_health(counts.delivery_rate());
        Self {
            name: campaign.name.to_string(),
            uid: campaign.uid,
            display_name: settings.display_name,
            state: pb::CampaignState::from(campaign.state).into(),
            finish_reason: match campaign.finish_reason {
                None => pb::FinishReason::Unspecified,
                Some(FinishReason::Completed) => pb::FinishReason::Completed,
                Some(FinishReason::Requested) => pb::FinishReason::Requested,
            }
            .into(),
            steps: settings.steps.number().into(),
            follow_up_delay: Some(duration(settings.follow_up_delay)),
            accounts: settings.accounts.into_iter().map(account_name).collect(),
            active_hours: Some(render_active_hours(&settings.active_hours)),
            daily_limit: settings.daily_limit,
            claim_expiry_policy: match settings.claim_expiry_policy {
                ClaimExpiryPolicy::Hold => pb::ClaimExpiryPolicy::Hold,
                ClaimExpiryPolicy::Retry => pb::ClaimExpiryPolicy::Retry,
            }
            .into(),
            settle_seconds: Some(settings.settle_seconds),
            attribution_days: Some(settings.attribution_days),
            lead_list_complete: settings.lead_list_complete,
            lead_counts: Some(campaign.lead_counts.into()),
            progress_ratio: campaign.lead_counts.progress().ratio(),
            message_counts: Some(counts.into()),
            delivery_rate: Some(rate(counts.delivery_rate())),
            delivery_health,
            delivery_health_certain,
            response_rate: Some(rate(counts.response_rate())),
            conversion_rate: Some(rate(counts.conversion_rate())),
            in_flight_claims: campaign.in_flight_claims,
            in_flight_until: campaign.in_flight_until.map(timestamp),
            uncertain_claims: campaign.uncertain_claims,
            not_sending_reasons: not_sending(&campaign.blocked.reasons),
            next_change_time: campaign.blocked.next_change.map(timestamp),
            create_time: Some(timestamp(campaign.create_time)),
            update_time: Some(timestamp(campaign.update_time)),
            finish_time: campaign.finish_time.map(timestamp),
            finalized_time: campaign.finalized_time.map(timestamp),
            etag: etag(campaign.revision),
            owner: campaign.owner.map(|owner| pb::Owner {
                resource: owner.resource,
                uid: owner.uid,
                generation: owner.generation,
                fencing_token: owner.fencing_token,
                cluster: owner.cluster,
            }),
            hold: campaign.hold.map(Into::into),
        }
    }
}

impl From<Hold> for pb::Hold {
    fn from(hold: Hold) -> Self {
        Self {
            place_time: Some(timestamp(hold.place_time)),
            reason: hold.reason,
            return_state: pb::CampaignState::from(hold.return_state).into(),
        }
    }
}

/// Renders reasons.
pub(super) fn not_sending(reasons: &[NotSending]) -> Vec<i32> {
    reasons.iter().map(|reason| pb::NotSendingReason::from(*reason).into()).collect()
}
