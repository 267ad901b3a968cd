//! Every rule of the resource's definition on a real API server: the last valid value is accepted, the next one
//! refused.
//!
//! The table names each rule by path and keyword. A walk over the schema fails on a rule that is not in the table, and
//! on an unknown keyword.

use campaign_controller::crd::Campaign;
use campaign_metrics::pb;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    expect::at,
    schema,
    stage::{Stage, service},
};
use crate::harness::kube::cluster;

#[path = "rules/table.rs"]
mod table;

use table::{ENUM, Rule, SET, changes, defaults, spec_rules};

/// A namespace without a controller, for dry runs.
struct Server {
    resources: Api<DynamicObject>,
}

impl Server {
    async fn start() -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace("rules").await.unwrap();
        let resource = ApiResource::erase::<Campaign>(&());
        Self { resources: Api::namespaced_with(cluster.client().await.unwrap(), &namespace, &resource) }
    }

    async fn create(&self, name: &str, spec: &Value, dry_run: bool) -> Result<Value, String> {
        let resource = json!({
            "apiVersion": "campaign-metrics.io/v1alpha1",
            "kind": "Campaign",
            "metadata": {"name": name},
            "spec": spec,
        });
        let resource = serde_json::from_value(resource).unwrap();
        let params = PostParams { dry_run, ..PostParams::default() };
        Self::told(self.resources.create(&params, &resource).await)
    }

    async fn change(&self, name: &str, part: &str, change: &Value) -> Result<Value, String> {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({part: change}));
        Self::told(match part {
            "status" => self.resources.patch_status(name, &params, &patch).await,
            _ => self.resources.patch(name, &params, &patch).await,
        })
    }

    /// Returns the resource as the API server completes it, or the refusal.
    fn told(answer: kube::Result<DynamicObject>) -> Result<Value, String> {
        match answer {
            Ok(resource) => Ok(resource.data),
            Err(kube::Error::Api(status)) if status.code == 422 => Err(status.message),
            Err(error) => panic!("the API server fails: {error}"),
        }
    }
}

/// A spec in which the field at a path has a value.
fn spec_with(path: &str, value: &Value) -> Value {
    let mut spec = value.clone();
    for name in path.rsplit('.') {
        spec = match name.strip_suffix("[]") {
            Some(list) => json!({list: [spec]}),
            None => json!({name: spec}),
        };
    }
    // A window needs both of its times.
    if let Some(window) = spec.pointer_mut("/activeHours/windows/0").filter(|_| path.contains("[].")) {
        let window = window.as_object_mut().expect("a window");
        for (name, time) in [("startTime", "12:34"), ("endTime", "12:35")] {
            window.entry(name).or_insert(json!(time));
        }
    }
    spec
}

#[tokio::test]
async fn what_just_fits_is_taken_and_what_is_just_beyond_is_refused() {
    let server = Server::start().await;
    for Rule { at, keyword, fits, beyond, says } in spec_rules() {
        for value in fits {
            let taken = server.create("edge", &spec_with(at, &value), true).await;
            assert!(taken.is_ok(), "{at} {keyword} must take {value}: {}", taken.unwrap_err());
        }
        for value in beyond {
            let Err(said) = server.create("edge", &spec_with(at, &value), true).await else {
                panic!("{at} {keyword} must refuse {value}");
            };
            let field = at.split("[]").next().unwrap();
            assert!(said.contains(says), "{at} {keyword} must refuse {value} with `{says}`, not:\n{said}");
            assert!(said.contains(&format!("spec.{field}")), "the refusal of {value} must name spec.{field}:\n{said}");
        }
    }
}

#[tokio::test]
async fn what_may_change_changes_and_what_is_fixed_stays() {
    let server = Server::start().await;
    for (number, (field, old, fits, beyond, says)) in changes().into_iter().enumerate() {
        let name = format!("change-{number}");
        server.create(&name, &json!({field: old}), false).await.unwrap();
        for new in fits.as_array().unwrap() {
            let taken = server.change(&name, "spec", &json!({field: new})).await;
            assert!(taken.is_ok(), "{field} may go from {old} to {new}: {}", taken.unwrap_err());
        }
        for new in beyond.as_array().unwrap() {
            let Err(said) = server.change(&name, "spec", &json!({field: new})).await else {
                panic!("{field} must not go from {old} to {new}");
            };
            assert!(said.contains(says), "{field} from {old} to {new} is refused with `{says}`, not:\n{said}");
        }
    }
}

#[tokio::test]
async fn a_status_takes_every_word_the_controller_has_and_no_other() {
    let server = Server::start().await;
    server.create("spring", &json!({}), false).await.unwrap();
    let conditions = |count: usize| -> Vec<Value> {
        let condition = |number| {
            json!({"type": format!("Kind{number}"), "status": "True", "reason": "R", "message": "",
                "lastTransitionTime": "2026-03-02T10:00:00Z"})
        };
        (0..count).map(condition).collect()
    };
    let twice = [&conditions(1)[..], &conditions(1)[..]].concat();
    for (field, fits, beyond, says) in [
        ("state", json!(["Active", "Paused", "Finished"]), json!(["Sleeping"]), ENUM),
        ("finishReason", json!(["Completed", "Requested"]), json!(["Bored"]), ENUM),
        ("deliveryHealth", json!(["High", "Moderate", "Low"]), json!(["Poor"]), ENUM),
        ("conditions", json!([conditions(16)]), json!([conditions(17)]), "must have at most 16 items"),
        ("conditions", json!([conditions(2)]), json!([twice]), SET),
        (
            "counts",
            json!([{"sent": 1, "failed": 2, "pending": 3, "partial": 4, "total": 10}]),
            json!([{"sent": 1}]),
            "Required",
        ),
    ] {
        for value in fits.as_array().unwrap() {
            let status = server.change("spring", "status", &json!({field: value})).await.unwrap();
            assert_eq!(status["status"][field], *value, "a status keeps its {field}");
        }
        for value in beyond.as_array().unwrap() {
            let said = server.change("spring", "status", &json!({field: value})).await.unwrap_err();
            assert!(said.contains(says), "{field} {value} must be refused with `{says}`, not:\n{said}");
        }
    }
    let messages = json!({"messages": {"delivered": 1, "failed": 2, "bounced": 3}});
    let status = server.change("spring", "status", &messages).await.unwrap()["status"].clone();
    let none = json!({"accountIssue": 0, "contentRejected": 0, "invalidLead": 0, "other": 0, "rateLimited": 0});
    assert_eq!((&status["messages"]["failures"], &status["conditions"]), (&none, &json!([])));
}

#[tokio::test]
async fn a_spec_that_says_nothing_gets_every_default_and_so_does_its_campaign() {
    let server = Server::start().await;
    let window = json!({"startTime": "09:00", "endTime": "17:30"});
    let empty = server.create("empty", &json!({}), true).await.unwrap();
    let hours = server.create("hours", &json!({"activeHours": {}}), true).await.unwrap();
    let window = server.create("window", &json!({"activeHours": {"windows": [window]}}), true).await.unwrap();
    for (path, node) in schema::nodes("spec") {
        let given = if path.contains("[]") {
            window["spec"].pointer("/activeHours/windows/0/days").filter(|_| path.ends_with("].days"))
        } else if path.contains('.') {
            at(&hours["spec"], &path)
        } else {
            at(&empty["spec"], &path)
        };
        let expected = defaults().into_iter().find(|(known, _)| *known == path).map(|(_, value)| value);
        assert_eq!(given, expected.as_ref(), "the default of {path}");
        assert_eq!(node.get("default"), expected.as_ref(), "the default of {path} in the definition");
    }

    // An empty spec and an empty request give the same campaign.
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("by-resource", &json!({})).await;
    stage.synced("by-resource").await;
    let by_caller = stage.create_campaign(&service, "by-caller", pb::Campaign::default()).await;
    let stored = stage.campaign(&service, "by-resource").await.unwrap();
    let settings = |campaign: &pb::Campaign| pb::Campaign {
        state: campaign.state,
        display_name: campaign.display_name.clone(),
        steps: campaign.steps,
        follow_up_delay: campaign.follow_up_delay,
        accounts: campaign.accounts.clone(),
        active_hours: campaign.active_hours.clone(),
        daily_limit: campaign.daily_limit,
        claim_expiry_policy: campaign.claim_expiry_policy,
        settle_seconds: campaign.settle_seconds,
        attribution_days: campaign.attribution_days,
        lead_list_complete: campaign.lead_list_complete,
        ..Default::default()
    };
    let expected = pb::Campaign {
        state: pb::CampaignState::Active.into(),
        steps: 1,
        follow_up_delay: Some(prost_types::Duration { seconds: 24 * 3600, nanos: 0 }),
        active_hours: Some(pb::ActiveHours { time_zone: "UTC".into(), windows: Vec::new() }),
        claim_expiry_policy: pb::ClaimExpiryPolicy::Hold.into(),
        settle_seconds: Some(604_800),
        attribution_days: Some(30),
        ..Default::default()
    };
    assert_eq!(settings(&stored), expected, "what the service stored for the resource");
    assert_eq!(settings(&by_caller), expected, "what the service stored for the caller");
}
