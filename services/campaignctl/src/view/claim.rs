//! Claims in tables.

use campaign_metrics::pb;

use super::{View, id, or_dash, short, time};

fn state(claim: &pb::Claim) -> Option<&'static str> {
    short(claim.state().as_str_name(), "CLAIM_STATE_")
}

impl View for pb::Claim {
    const COLUMNS: &'static [&'static str] =
        &["CLAIM", "STATE", "ACCOUNT", "CAMPAIGN", "LEAD", "STEP", "UNTIL", "SEND KEY"];

    fn row(&self) -> Vec<String> {
        vec![
            self.claim_id.clone(),
            or_dash(state(self)),
            id(&self.account).to_owned(),
            id(&self.campaign).to_owned(),
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
            ("Account", Some(id(&self.account).to_owned())),
            ("Lead", Some(self.lead.clone())),
            ("Step", Some(self.step.to_string())),
            ("Until", time(self.expire_time.as_ref())),
            ("Send key", Some(self.send_key.clone())),
        ]
    }
}
