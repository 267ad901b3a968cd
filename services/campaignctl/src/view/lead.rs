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

/// Renders what happened to a step: `step 2 bounced (INVALID_LEAD)`.
fn of_step(step: i32, result: &str, reason: i32) -> String {
    let reason = failure_reason(reason).map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("step {step} {}{reason}", result.to_lowercase())
}

/// Summarizes the facts of a lead: `step 1 delivered, step 2 bounced (INVALID_LEAD), replied`.
fn story(lead: &pb::Lead) -> Option<String> {
    let step = |step: &pb::StepResult| of_step(step.step, result(step).unwrap_or("-"), step.reason);
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

/// Renders an outcome: `step 2 bounced (INVALID_LEAD)`, `replied`, `opted out`.
fn event(outcome: &pb::LeadOutcome) -> String {
    let kind = short(outcome.kind().as_str_name(), "OUTCOME_KIND_").unwrap_or("-");
    match outcome.step {
        0 => kind.to_lowercase().replace("auto_", "auto-").replace('_', " "),
        step => of_step(step, kind, outcome.reason),
    }
}

/// Renders the value of a conversion in the caller's unit: `12.5`.
fn value(outcome: &pb::LeadOutcome) -> Option<String> {
    let micros = outcome.value_micros?;
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let decimals = format!("{:06}", micros % 1_000_000);
    Some(format!("{sign}{}.{decimals}", micros / 1_000_000).trim_end_matches('0').trim_end_matches('.').to_owned())
}

impl View for pb::LeadOutcome {
    const COLUMNS: &'static [&'static str] = &["OUTCOME", "TIME", "RECEIVED", "ACCOUNT", "VALUE", "TEXT"];

    fn row(&self) -> Vec<String> {
        vec![
            event(self),
            or_dash(time(self.time.as_ref())),
            or_dash(time(self.receive_time.as_ref())),
            or_dash(some_text(id(&self.account))),
            or_dash(value(self)),
            or_dash(some_text(&self.detail)),
        ]
    }

    fn details(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("Outcome", Some(event(self))),
            ("Lead", Some(self.lead.clone())),
            ("Time", time(self.time.as_ref())),
            ("Received", time(self.receive_time.as_ref())),
            ("Account", some_text(id(&self.account)).map(str::to_owned)),
            ("Value", value(self)),
            ("Text", some_text(&self.detail).map(str::to_owned)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_its_step_and_its_value_in_units() {
        use pb::OutcomeKind::{AutoReplied, Bounced, Converted, OptedOut};
        let outcome = |kind: pb::OutcomeKind, step, value_micros| pb::LeadOutcome {
            kind: kind.into(),
            step,
            value_micros,
            ..pb::LeadOutcome::default()
        };
        let mut bounced = outcome(Bounced, 2, None);
        bounced.reason = pb::FailureReason::InvalidLead.into();
        assert_eq!(bounced.row(), ["step 2 bounced (INVALID_LEAD)", "-", "-", "-", "-", "-"]);
        assert_eq!(event(&outcome(OptedOut, 0, None)), "opted out");
        assert_eq!(event(&outcome(AutoReplied, 0, None)), "auto-replied");
        for (micros, shown) in
            [(12_500_000, "12.5"), (7_000_000, "7"), (100_000_000, "100"), (-30, "-0.00003"), (0, "0")]
        {
            assert_eq!(value(&outcome(Converted, 0, Some(micros))).as_deref(), Some(shown));
        }
    }
}
