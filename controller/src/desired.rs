//! Builds the call that applies a resource. This is the only place that converts `crd` settings to `pb`.

use campaign_metrics::pb;
use kube::ResourceExt as _;

use crate::{
    crd::{AdoptionPolicy, Campaign, ClaimExpiryPolicy, Day, DesiredState},
    edit::edit_time,
    plan::Failure,
};

/// Returns the name of the campaign of a resource.
pub fn campaign_name(namespace: &str, name: &str) -> String {
    format!("workspaces/{namespace}/campaigns/{name}")
}

/// Returns the namespace and name of the resource of a campaign; `None` if the text is not the name of a campaign.
pub fn resource_of(campaign_name: &str) -> Option<(&str, &str)> {
    campaign_name.strip_prefix("workspaces/")?.split_once("/campaigns/")
}

/// Builds the call that applies the spec of a resource. The failure names a field that can't be converted.
///
/// `cluster` identifies the cluster of the resource.
pub fn apply_request(
    resource: &Campaign,
    fencing_token: i64,
    cluster: String,
) -> Result<pb::ApplyCampaignRequest, Failure> {
    let spec = &resource.spec;
    let namespace = resource.namespace().unwrap_or_default();
    let name = resource.name_any();
    let follow_up_delay = parse_delay(&spec.follow_up_delay).ok_or_else(|| {
        let message = format!("followUpDelay `{}` is no duration such as `24h` or `90m`", spec.follow_up_delay);
        Failure::terminal("InvalidSpec", message)
    })?;
    let campaign = pb::Campaign {
        name: campaign_name(&namespace, &name),
        display_name: spec.display_name.clone().unwrap_or_default(),
        steps: spec.steps,
        follow_up_delay: Some(follow_up_delay),
        accounts: spec.accounts.iter().map(|id| format!("workspaces/{namespace}/accounts/{id}")).collect(),
        active_hours: spec.active_hours.as_ref().map(|hours| pb::ActiveHours {
            time_zone: hours.time_zone.clone(),
            windows: hours
                .windows
                .iter()
                .map(|window| pb::ActiveWindow {
                    days: window.days.iter().map(|day| day_of_week(*day).into()).collect(),
                    start_time: window.start_time.clone(),
                    end_time: window.end_time.clone(),
                })
                .collect(),
        }),
        daily_limit: spec.daily_limit,
        claim_expiry_policy: match spec.claim_expiry_policy {
            ClaimExpiryPolicy::Hold => pb::ClaimExpiryPolicy::Hold,
            ClaimExpiryPolicy::Retry => pb::ClaimExpiryPolicy::Retry,
        }
        .into(),
        settle_seconds: Some(spec.settle_seconds),
        attribution_days: Some(spec.attribution_days),
        lead_list_complete: spec.lead_list_complete,
        ..pb::Campaign::default()
    };
    Ok(pb::ApplyCampaignRequest {
        campaign: Some(campaign),
        state: match spec.state {
            DesiredState::Active => pb::CampaignState::Active,
            DesiredState::Paused => pb::CampaignState::Paused,
            DesiredState::Finished => pb::CampaignState::Finished,
        }
        .into(),
        owner: Some(pb::Owner {
            resource: format!("{namespace}/{name}"),
            uid: resource.uid().unwrap_or_default(),
            generation: resource.metadata.generation.unwrap_or_default(),
            fencing_token,
            cluster,
        }),
        adoption_policy: match spec.adoption_policy {
            AdoptionPolicy::IfUnowned => pb::AdoptionPolicy::IfUnowned,
            AdoptionPolicy::Never => pb::AdoptionPolicy::Never,
            AdoptionPolicy::Always => pb::AdoptionPolicy::Always,
        }
        .into(),
        edit_time: edit_time(resource).map(|time| prost_types::Timestamp { seconds: time.as_second(), nanos: 0 }),
    })
}

/// Parses a whole number with the unit `h`, `m` or `s`, the format that the schema of the resource allows.
fn parse_delay(text: &str) -> Option<prost_types::Duration> {
    let unit_seconds = match text.chars().last()? {
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let count: i64 = text[..text.len() - 1].parse().ok().filter(|count| *count >= 0)?;
    Some(prost_types::Duration { seconds: count.checked_mul(unit_seconds)?, nanos: 0 })
}

fn day_of_week(day: Day) -> pb::DayOfWeek {
    match day {
        Day::Monday => pb::DayOfWeek::Monday,
        Day::Tuesday => pb::DayOfWeek::Tuesday,
        Day::Wednesday => pb::DayOfWeek::Wednesday,
        Day::Thursday => pb::DayOfWeek::Thursday,
        Day::Friday => pb::DayOfWeek::Friday,
        Day::Saturday => pb::DayOfWeek::Saturday,
        Day::Sunday => pb::DayOfWeek::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(spec: &serde_json::Value) -> Campaign {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "campaign-metrics.io/v1alpha1",
            "kind": "Campaign",
            "metadata": {
                "name": "spring", "namespace": "team", "uid": "u-1", "generation": 3,
                "managedFields": [{"time": "1970-01-01T00:02:03Z", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": spec,
        }))
        .expect("the resource is well formed")
    }

    #[test]
    fn a_spec_becomes_a_call_in_the_words_of_the_service() {
        let resource = resource(&serde_json::json!({
            "state": "Paused", "displayName": "Spring", "accounts": ["ann@example.org", "bob"], "steps": 3,
            "followUpDelay": "90m", "dailyLimit": 40, "claimExpiryPolicy": "Retry", "adoptionPolicy": "Never",
            "settleSeconds": 71, "attributionDays": 5, "leadListComplete": true,
            "activeHours": {"timeZone": "Europe/Berlin", "windows": [
                {"days": ["Friday", "Monday"], "startTime": "22:15", "endTime": "02:45"},
                {"startTime": "09:00", "endTime": "17:30"}]},
        }));
        let days = vec![pb::DayOfWeek::Friday.into(), pb::DayOfWeek::Monday.into()];
        let window =
            |days, start: &str, end: &str| pb::ActiveWindow { days, start_time: start.into(), end_time: end.into() };
        let campaign = pb::Campaign {
            name: "workspaces/team/campaigns/spring".into(),
            display_name: "Spring".into(),
            steps: 3,
            follow_up_delay: Some(prost_types::Duration { seconds: 90 * 60, nanos: 0 }),
            accounts: vec!["workspaces/team/accounts/ann@example.org".into(), "workspaces/team/accounts/bob".into()],
            active_hours: Some(pb::ActiveHours {
                time_zone: "Europe/Berlin".into(),
                windows: vec![window(days, "22:15", "02:45"), window(vec![], "09:00", "17:30")],
            }),
            daily_limit: Some(40),
            claim_expiry_policy: pb::ClaimExpiryPolicy::Retry.into(),
            settle_seconds: Some(71),
            attribution_days: Some(5),
            lead_list_complete: true,
            ..pb::Campaign::default()
        };
        let owner = pb::Owner {
            resource: "team/spring".into(),
            uid: "u-1".into(),
            generation: 3,
            fencing_token: 7,
            cluster: "c-1".into(),
        };
        let expected = pb::ApplyCampaignRequest {
            campaign: Some(campaign),
            state: pb::CampaignState::Paused.into(),
            owner: Some(owner),
            adoption_policy: pb::AdoptionPolicy::Never.into(),
            edit_time: Some(prost_types::Timestamp { seconds: 123, nanos: 0 }),
        };
        assert_eq!(apply_request(&resource, 7, "c-1".into()).unwrap(), expected);
    }

    #[test]
    fn an_empty_spec_asks_for_the_documented_defaults() {
        let request = apply_request(&resource(&serde_json::json!({})), 0, String::new()).unwrap();
        let campaign = pb::Campaign {
            name: "workspaces/team/campaigns/spring".into(),
            steps: 1,
            follow_up_delay: Some(prost_types::Duration { seconds: 24 * 3600, nanos: 0 }),
            claim_expiry_policy: pb::ClaimExpiryPolicy::Hold.into(),
            settle_seconds: Some(604_800),
            attribution_days: Some(30),
            ..pb::Campaign::default()
        };
        assert_eq!(request.campaign, Some(campaign));
        assert_eq!(request.state(), pb::CampaignState::Active);
        assert_eq!(request.adoption_policy(), pb::AdoptionPolicy::IfUnowned);
    }

    #[test]
    fn every_state_and_every_day_has_the_services_word() {
        for (state, expected) in [
            ("Active", pb::CampaignState::Active),
            ("Paused", pb::CampaignState::Paused),
            ("Finished", pb::CampaignState::Finished),
        ] {
            let request = apply_request(&resource(&serde_json::json!({"state": state})), 0, String::new()).unwrap();
            assert_eq!(request.state(), expected);
        }
        let names = (1..8).map(|day| format!("{:?}", pb::DayOfWeek::try_from(day).expect("the week has seven days")));
        let window = serde_json::json!({"days": names.collect::<Vec<_>>(), "startTime": "09:00", "endTime": "17:30"});
        let request =
            apply_request(&resource(&serde_json::json!({"activeHours": {"windows": [window]}})), 0, String::new())
                .unwrap();
        let hours = request.campaign.unwrap().active_hours.unwrap();
        assert_eq!((hours.time_zone.as_str(), &hours.windows[0].days[..]), ("UTC", &[1, 2, 3, 4, 5, 6, 7][..]));
    }

    #[test]
    fn a_delay_that_is_none_is_refused_by_its_field() {
        let failure =
            apply_request(&resource(&serde_json::json!({"followUpDelay": "soon"})), 0, String::new()).unwrap_err();
        assert_eq!((failure.reason, failure.retry), ("InvalidSpec", crate::plan::Retry::WhenEdited));
        assert!(failure.message.contains("followUpDelay `soon`"), "{failure}");
    }

    #[test]
    fn delays_have_one_number_and_one_unit() {
        for (text, seconds) in [("30s", 30), ("90m", 5400), ("24h", 86_400), ("0h", 0)] {
            assert_eq!(parse_delay(text).unwrap().seconds, seconds, "{text}");
        }
        for text in ["", "h", "1d", "-1h", "1h30m", "é", "99999999999999999999h"] {
            assert!(parse_delay(text).is_none(), "{text}");
        }
    }

    #[test]
    fn names_of_campaigns_and_resources_correspond() {
        assert_eq!(resource_of(&campaign_name("team", "spring.v2")), Some(("team", "spring.v2")));
        assert_eq!(resource_of("workspaces/team/accounts/a"), None);
    }
}
