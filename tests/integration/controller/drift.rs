//! Drift: every stored setting is changed in the database, and the controller restores it from the spec.
//!
//! The API refuses such changes of a managed campaign. A restored backup can make them.

use std::collections::BTreeSet;

use anyhow::ensure;
use campaign_metrics::pb;
use serde_json::{Value, json};

use super::{
    schema,
    stage::{Stage, condition, service},
};
use crate::harness::{
    postgres::Connection,
    service::Service,
    wait::{SOON, until},
};

/// A change of what is stored: the field of the spec, and the statement, whose `$1` is the campaign's number.
struct Drift {
    field: &'static str,
    sql: &'static str,
}

const DRIFTS: [Drift; 19] = [
    Drift { field: "state", sql: "UPDATE campaigns SET state = 3 - state WHERE campaign_id = $1" },
    Drift { field: "displayName", sql: "UPDATE campaigns SET display_name = 'Autumn' WHERE campaign_id = $1" },
    Drift {
        field: "accounts[]",
        sql: "DELETE FROM campaign_accounts s USING accounts a
            WHERE s.account_id = a.account_id AND a.name = 'bob' AND s.campaign_id = $1",
    },
    Drift {
        field: "accounts[]",
        sql: "INSERT INTO campaign_accounts (workspace_id, campaign_id, account_id)
            SELECT workspace_id, $1, account_id FROM accounts WHERE name = 'eve'",
    },
    Drift { field: "followUpDelay", sql: "UPDATE campaigns SET follow_up_delay_ms = 5401000 WHERE campaign_id = $1" },
    Drift {
        field: "activeHours.timeZone",
        sql: "UPDATE campaigns SET time_zone = 'Asia/Tokyo' WHERE campaign_id = $1",
    },
    Drift {
        field: "activeHours.windows[].days[]",
        sql: "UPDATE campaigns SET active_windows[1] = '14 09:00 17:30' WHERE campaign_id = $1",
    },
    Drift {
        field: "activeHours.windows[].startTime",
        sql: "UPDATE campaigns SET active_windows[1] = '13 09:01 17:30' WHERE campaign_id = $1",
    },
    Drift {
        field: "activeHours.windows[].endTime",
        sql: "UPDATE campaigns SET active_windows[2] = '6 22:15 02:46' WHERE campaign_id = $1",
    },
    // The list of windows has no field of its own: one window less, and no window, which means always.
    Drift {
        field: "activeHours.windows[].days[]",
        sql: "UPDATE campaigns SET active_windows = active_windows[1:1] WHERE campaign_id = $1",
    },
    Drift {
        field: "activeHours.windows[].days[]",
        sql: "UPDATE campaigns SET active_windows = '{}' WHERE campaign_id = $1",
    },
    Drift { field: "dailyLimit", sql: "UPDATE campaigns SET daily_limit = 41 WHERE campaign_id = $1" },
    Drift { field: "dailyLimit", sql: "UPDATE campaigns SET daily_limit = NULL WHERE campaign_id = $1" },
    Drift { field: "claimExpiryPolicy", sql: "UPDATE campaigns SET claim_expiry_policy = 1 WHERE campaign_id = $1" },
    Drift { field: "settleSeconds", sql: "UPDATE campaigns SET settle_seconds = 72 WHERE campaign_id = $1" },
    Drift { field: "attributionDays", sql: "UPDATE campaigns SET attribution_days = 6 WHERE campaign_id = $1" },
    Drift { field: "leadListComplete", sql: "UPDATE campaigns SET lead_list_complete = false WHERE campaign_id = $1" },
    // The owner, which the resource's metadata decides.
    Drift { field: "", sql: "UPDATE campaigns SET owner_generation = owner_generation - 1 WHERE campaign_id = $1" },
    Drift { field: "", sql: "UPDATE campaigns SET owner_uid = NULL WHERE campaign_id = $1" },
];

/// Fields of the spec that can't drift, each with its reason.
const NEVER: [(&str, &str); 3] = [
    ("steps", "fixed: the service refuses to bring them back, and the resource says so"),
    ("deletionPolicy", "the controller's own; the service does not store it"),
    ("adoptionPolicy", "is looked at when a campaign is taken over; the service does not store it"),
];

fn spec(state: &str) -> Value {
    json!({
        "state": state, "displayName": "Spring", "accounts": ["ann", "bob"], "steps": 3, "followUpDelay": "90m",
        "activeHours": {"timeZone": "America/St_Johns", "windows": [
            {"days": ["Monday", "Wednesday"], "startTime": "09:00", "endTime": "17:30"},
            {"days": ["Saturday"], "startTime": "22:15", "endTime": "02:45"},
        ]},
        "dailyLimit": 40, "claimExpiryPolicy": "Retry", "settleSeconds": 71, "attributionDays": 5,
        "leadListComplete": true,
    })
}

/// Returns a campaign without the fields that change by themselves or with every update.
fn stable(campaign: pb::Campaign) -> pb::Campaign {
    pb::Campaign {
        etag: String::new(),
        update_time: None,
        next_change_time: None,
        not_sending_reasons: Vec::new(),
        ..campaign
    }
}

/// Changes a stored campaign without the service.
async fn change(sql: &Connection, campaign: &str, statement: &str) {
    let number = "SELECT campaign_id FROM campaigns WHERE name = $1";
    let number: i32 = sql.query_one(number, &[&campaign]).await.unwrap().get(0);
    assert_eq!(sql.execute(statement, &[&number]).await.unwrap(), 1, "{statement} changes one row");
}

async fn world() -> (Service, Stage) {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    for account in ["ann", "bob", "eve"] {
        stage.account(&service, account).await;
    }
    (service, stage)
}

#[test]
fn every_field_of_the_spec_drifts_here_or_can_not_drift() {
    let mut known: BTreeSet<String> = DRIFTS.iter().map(|drift| drift.field.to_owned()).collect();
    known.extend(NEVER.map(|(field, _)| field.to_owned()));
    known.remove("");
    assert_eq!(known, schema::leaves("spec"), "fields with a row here (left), fields of the spec (right)");
}

#[tokio::test]
async fn every_setting_that_drifts_is_restored_and_reported() {
    let (service, stage) = world().await;
    let sql = service.sql().await;
    let mut cases = Vec::new();
    for (number, drift) in DRIFTS.iter().enumerate() {
        cases.push((format!("spring-{number}"), "Active", drift));
    }
    // A lifted pause is worse than an added one.
    cases.push(("paused".to_owned(), "Paused", &DRIFTS[0]));
    for (name, state, _) in &cases {
        stage.apply(name, &spec(state)).await;
    }
    let mut before = Vec::new();
    for (name, ..) in &cases {
        stage.synced(name).await;
        before.push(stable(stage.campaign(&service, name).await.unwrap()));
    }
    let repairs = async || stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap();
    assert_eq!(repairs().await, 0, "nothing has drifted yet");
    for (name, _, drift) in &cases {
        change(&sql, name, drift.sql).await;
    }
    for ((name, _, drift), before) in cases.iter().zip(&before) {
        let look = async || {
            let now = stable(stage.campaign(&service, name).await?);
            ensure!(now == *before, "after {}\nit is {now:#?}\nit was {before:#?}", drift.sql);
            Ok(())
        };
        until(&format!("the drift of {} to be repaired", drift.field), SOON, look).await.unwrap();
        let said = stage.event(name, "DriftRepaired").await;
        assert!(said.contains("changed without this resource"), "{}: {said}", drift.field);
        assert_eq!(stage.types(name, "DriftRepaired").await, ["Warning"], "{}", drift.field);
        stage.synced(name).await;
    }
    assert_eq!(repairs().await, u64::try_from(cases.len()).unwrap(), "each drift counts once");
}

#[tokio::test]
async fn steps_that_drifted_can_not_be_restored_and_the_resource_says_so() {
    let (service, stage) = world().await;
    stage.apply("spring", &spec("Active")).await;
    stage.synced("spring").await;
    change(&service.sql().await, "spring", "UPDATE campaigns SET steps = 2 WHERE campaign_id = $1").await;
    let stalled = stage.condition("spring", "Stalled", "True", "ImmutableField").await;
    let said = &condition(&stalled, "Ready").unwrap().message;
    assert!(said.contains("spec.steps") && said.contains("apply it again with `steps: 2`"), "{said}");
    assert_eq!(stage.campaign(&service, "spring").await.unwrap().steps, 2);
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 0);
}

#[tokio::test]
async fn what_others_may_change_is_no_drift() {
    let (service, stage) = world().await;
    let mut open = spec("Active");
    open["leadListComplete"] = json!(false);
    stage.apply("spring", &open).await;
    stage.synced("spring").await;
    stage.leads(&service, "spring", 2, true).await;
    let seen = |resource: &campaign_controller::crd::Campaign| {
        let counts = resource.status.as_ref().and_then(|status| status.counts);
        counts.is_some_and(|counts| counts.total == 2)
    };
    stage.see("spring", "the leads", seen).await;
    assert!(stage.campaign(&service, "spring").await.unwrap().lead_list_complete, "declared by who added them");
    assert_eq!(stage.controller.metric("campaign_controller_drift_repairs_total").await.unwrap(), 0);
}
