//! Leads in tables.

use campaign_metrics::pb;

use super::{View, failure_reason, id, or_dash, short, some_text, time};

fn status(lead: &pb::Lead) -> Option<&'static str> {
    short(lead.status().as_str_name(), "LEAD_STATUS_")
}

fn result(step: &pb::StepResult) -> Option<&'static str> {
    short(step.result().as_str_name(), "OUTCOME_KIND_")
}

fn next_step(lead: &pb::Lead) -> Option<String> {
    (lead.next_step > 0).then(|| lead.next_step.to_string())
}

fn claim(lead: &pb::Lead) -> Option<&'static str> {
    short(lead.claim_state().as_str_name(), "CLAIM_STATE_")
}

/// Summarizes the facts of a lead: `1 delivered, 2 bounced (INVALID_LEAD), replied`.
fn story(lead: &pb::Lead) -> Option<String> {
    let step = |step: &pb::StepResult| {
        let result = result(step).unwrap_or("-").to_lowercase();
        match failure_reason(step.reason) {
            Some(reason) => format!("{} {result} ({reason})", step.step),
            None => format!("{} {result}", step.step),
        }
    };
    let facts = [
        (lead.replied, "replied"),
        (lead.converted, "converted"),
        (lead.auto_replied, "auto-replied"),
        (lead.opted_out, "opted out"),
    ];
    let happened = facts.iter().filter(|(holds, _)| *holds).map(|(_, fact)| (*fact).to_owned());
    let all: Vec<String> = lead.step_results.iter().map(step).chain(happened).collect();
    some_text(&all.join(", ")).map(str::to_owned)
}

impl View for pb::Lead {
    const COLUMNS: &'static [&'static str] =
        &["LEAD", "STATUS", "ACCOUNT", "LAST ACTION", "NEXT STEP", "DUE", "CLAIM", "FACTS"];

    fn row(&self) -> Vec<String> {
        vec![
            id(&self.name).to_owned(),
            or_dash(status(self)),
            or_dash(some_text(id(&self.account))),
            or_dash(time(self.last_action_time.as_ref())),
            or_dash(next_step(self)),
            or_dash(time(self.due_time.as_ref())),
            or_dash(claim(self)),
            or_dash(story(self)),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("Lead", Some(self.name.clone())),
            ("Status", status(self).map(str::to_owned)),
            ("Account", some_text(id(&self.account)).map(str::to_owned)),
            ("Last action", time(self.last_action_time.as_ref())),
            ("Next step", next_step(self)),
            ("Due", time(self.due_time.as_ref())),
            ("Claim", claim(self).map(str::to_owned)),
            ("Facts", story(self)),
        ]
    }
}
