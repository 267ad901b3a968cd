//! Claims in tables and JSON.

use campaign_metrics::pb;
use serde::Serialize;

use super::{View, id, or_dash, short, time};

/// A claim in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimJson<'a> {
    claim_id: &'a str,
    lead: &'a str,
    step: i32,
    send_key: &'a str,
    account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<String>,
    state: Option<&'static str>,
}

fn state(claim: &pb::Claim) -> Option<&'static str> {
    short(claim.state().as_str_name(), "CLAIM_STATE_")
}

/// Returns the id of the campaign of a lead.
fn campaign(claim: &pb::Claim) -> &str {
    claim.lead.split('/').nth(3).unwrap_or_default()
}

impl View for pb::Claim {
    type Json<'a> = ClaimJson<'a>;

    const COLUMNS: &'static [&'static str] = &["CLAIM", "STATE", "CAMPAIGN", "LEAD", "STEP", "UNTIL", "SEND KEY"];

    fn row(&self) -> Vec<String> {
        vec![
            self.claim_id.clone(),
            or_dash(state(self)),
            campaign(self).to_owned(),
            id(&self.lead).to_owned(),
            self.step.to_string(),
            or_dash(time(self.expire_time.as_ref())),
            self.send_key.clone(),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("Claim", Some(self.claim_id.clone())),
            ("State", state(self).map(str::to_owned)),
            ("Lead", Some(self.lead.clone())),
            ("Step", Some(self.step.to_string())),
            ("Until", time(self.expire_time.as_ref())),
            ("Send key", Some(self.send_key.clone())),
        ]
    }

    fn json(&self) -> ClaimJson<'_> {
        ClaimJson {
            claim_id: &self.claim_id,
            lead: &self.lead,
            step: self.step,
            send_key: &self.send_key,
            account: &self.account,
            expire_time: time(self.expire_time.as_ref()),
            state: state(self),
        }
    }
}
