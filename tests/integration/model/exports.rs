//! Compares filtered lists of leads, and exports, with the model.

use campaign_metrics::pb::{self, FailureReason};
use proptest::prelude::*;

use super::{
    compare::{PAGES_MAX, order, pages},
    play::{Checked, Play, check_same, stamp},
};

/// Reads a stream to its end.
macro_rules! all {
    ($stream:expr) => {{
        let mut stream = $stream.expect("a stream").into_inner();
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await.expect("it goes on") {
            messages.push(message);
        }
        messages
    }};
}

impl Play<'_> {
    /// Lists the leads of a campaign by reason, and by the time of the last action on both sides of each such time.
    pub(super) async fn audit_filters(&self, parent: &str, views: &[pb::Lead]) -> Checked {
        let any = pb::ListLeadsRequest { parent: parent.to_owned(), ..Default::default() };
        let reasons = [
            FailureReason::AccountIssue,
            FailureReason::InvalidLead,
            FailureReason::RateLimited,
            FailureReason::ContentRejected,
            FailureReason::Other,
        ];
        for reason in reasons {
            let request = pb::ListLeadsRequest { failure_reason: reason.into(), ..any.clone() };
            let seen = pages!(self.service.leads, list_leads, request.clone(), leads, 2);
            let is_meant = |lead: &&pb::Lead| lead.step_results.iter().any(|step| step.reason() == reason);
            let expected: Vec<pb::Lead> = views.iter().filter(is_meant).cloned().collect();
            check_same(&seen, &expected, &format!("leads of {parent} that failed for {reason:?}"))?;
        }
        let mut times: Vec<prost_types::Timestamp> = views.iter().filter_map(|lead| lead.last_action_time).collect();
        times.sort_by_key(|at| order(*at));
        times.dedup();
        for (place, &at) in times.iter().enumerate().step_by(3) {
            let until = times.get(place + 2).copied();
            for (after, before) in [(Some(at), None), (None, Some(at)), (Some(at), until)] {
                let request =
                    pb::ListLeadsRequest { last_action_after: after, last_action_before: before, ..any.clone() };
                let seen = pages!(self.service.leads, list_leads, request.clone(), leads, 3);
                let is_meant = |lead: &&pb::Lead| {
                    lead.last_action_time.map(order).is_some_and(|last| {
                        after.is_none_or(|after| order(after) <= last)
                            && before.is_none_or(|before| last < order(before))
                    })
                };
                let expected: Vec<pb::Lead> = views.iter().filter(is_meant).cloned().collect();
                check_same(&seen, &expected, &format!("leads of {parent}, last action in {after:?} to {before:?}"))?;
            }
        }
        Ok(())
    }

    /// Exports a campaign.
    pub(super) async fn audit_exports(&self, workspace: usize, place: usize) -> Checked {
        let parent = self.campaign_name(workspace, place);
        let leads = &self.world.workspaces[workspace].campaigns[place].leads;
        let head = (Some(stamp(self.world.now)), self.campaign_view(workspace, place).lead_counts);
        let mut client = self.service.leads.clone();

        let request = pb::ExportLeadsRequest { parent: parent.clone() };
        let mut messages = all!(client.export_leads(request).await).into_iter();
        let first = messages.next().map(|first| (first.as_of_time, first.lead_counts));
        check_same(&first, &Some(head), &format!("the moment and counts of the leads of {parent}"))?;
        let seen: Vec<pb::Lead> = messages.flat_map(|message| message.leads).collect();
        let expected = leads.iter().filter_map(|lead| {
            let account = self.account_or_none(workspace, lead.account);
            let view = self.lead_view(workspace, place, lead)?;
            Some(pb::Lead { account, due_time: None, claim_state: 0, ..view })
        });
        check_same(&seen, &expected.collect::<Vec<_>>(), &format!("the exported leads of {parent}"))?;

        let request = pb::ExportOutcomesRequest { parent: parent.clone() };
        let mut messages = all!(client.export_outcomes(request).await).into_iter();
        let first = messages.next().map(|first| (first.as_of_time, first.lead_counts));
        check_same(&first, &Some(head), &format!("the moment and counts of the outcomes of {parent}"))?;
        let seen: Vec<pb::LeadOutcome> = messages.flat_map(|message| message.outcomes).collect();
        let expected = leads.iter().filter_map(|lead| Some((lead, lead.id.as_ref()?))).flat_map(|(lead, id)| {
            let name = format!("{parent}/leads/{id}");
            lead.trail.iter().map(move |entry| self.outcome_view(workspace, &name, entry))
        });
        check_same(&seen, &expected.collect::<Vec<_>>(), &format!("the exported outcomes of {parent}"))
    }
}
