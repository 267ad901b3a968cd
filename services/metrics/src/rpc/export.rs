//! The streams of ExportLeads and ExportOutcomes.
//!
//! A portion is read when the connection has room for it: a slow reader holds neither a transaction nor a connection, and
//! nothing is queued. A reader that disconnects ends the stream.

use std::{
    iter,
    time::{Duration, Instant},
};

use campaign_metrics::{lead::LeadOutcome, name::CampaignName, pb, wire};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Messages, Rpc};
use crate::{
    error::{Error, Result},
    store::{Export, Store, with_deadline},
};

/// Longest export: a hundred million leads take less. It ends exports whose readers are too slow.
const EXPORT_MAX: Duration = Duration::from_hours(1);
/// Longest read of a portion, which takes some 10 ms.
const PORTION_MAX: Duration = Duration::from_secs(30);
/// Outcomes of a message, which have at most some 1.5 kB each.
const MESSAGE_OUTCOMES: usize = 1000;

/// An export that is being streamed.
struct Exporting {
    store: Store,
    export: Export,
    shutdown: CancellationToken,
    ends: Instant,
}

impl Exporting {
    fn new(rpc: &Rpc, export: Export) -> Self {
        let (store, shutdown) = (rpc.store.clone(), rpc.shutdown.clone());
        Self { store, export, shutdown, ends: Instant::now() + EXPORT_MAX }
    }

    /// Returns the deadline of the next portion.
    fn deadline(&self) -> Result<Instant> {
        let now = Instant::now();
        if self.shutdown.is_cancelled() {
            Err(Error::Stopping)
        } else if now >= self.ends {
            Err(Error::DeadlineExceeded)
        } else {
            Ok(self.ends.min(now + PORTION_MAX))
        }
    }
}

/// Awaits the read of a portion until its deadline.
async fn within<T>(deadline: Instant, read: impl Future<Output = Result<T>>) -> Result<T> {
    let bounded = tokio::time::timeout_at(deadline.into(), read);
    with_deadline(deadline, bounded).await.map_err(|_| Error::DeadlineExceeded)?
}

/// Starts an export of leads. Its first message says of which moment.
pub(super) async fn leads(rpc: &Rpc, campaign: &CampaignName) -> Result<Messages<pb::ExportLeadsResponse>> {
    let export = rpc.store.export_start(campaign).await?;
    let head = pb::ExportLeadsResponse {
        as_of_time: Some(wire::timestamp(export.as_of)),
        lead_counts: Some(export.counts.into()),
        leads: Vec::new(),
    };
    let portions = stream::try_unfold(Exporting::new(rpc, export), |mut exporting| async {
        let deadline = exporting.deadline()?;
        let portion = within(deadline, exporting.store.export_leads(&mut exporting.export)).await?;
        Ok::<_, Error>(portion.map(|leads| (leads, exporting)))
    });
    let messages = portions.map_err(Status::from).map_ok(|leads| pb::ExportLeadsResponse {
        leads: leads.into_iter().map(Into::into).collect(),
        ..pb::ExportLeadsResponse::default()
    });
    Ok(Box::pin(stream::iter([Ok(head)]).chain(messages)))
}

/// Starts an export of outcomes. Its first message says of which moment.
pub(super) async fn outcomes(rpc: &Rpc, campaign: &CampaignName) -> Result<Messages<pb::ExportOutcomesResponse>> {
    let export = rpc.store.export_start(campaign).await?;
    let head = pb::ExportOutcomesResponse {
        as_of_time: Some(wire::timestamp(export.as_of)),
        lead_counts: Some(export.counts.into()),
        outcomes: Vec::new(),
    };
    let portions = stream::try_unfold(Exporting::new(rpc, export), |mut exporting| async {
        let deadline = exporting.deadline()?;
        let portion = within(deadline, exporting.store.export_outcomes(&mut exporting.export)).await?;
        Ok::<_, Error>(portion.map(|outcomes| (outcomes, exporting)))
    });
    let messages = portions.map_err(Status::from).map_ok(|outcomes| stream::iter(outcome_messages(outcomes)));
    Ok(Box::pin(stream::iter([Ok(head)]).chain(messages.try_flatten())))
}

/// Divides outcomes into messages.
fn outcome_messages(outcomes: Vec<LeadOutcome>) -> impl Iterator<Item = Result<pb::ExportOutcomesResponse, Status>> {
    let mut outcomes = outcomes.into_iter().map(pb::LeadOutcome::from);
    iter::from_fn(move || {
        let outcomes: Vec<_> = outcomes.by_ref().take(MESSAGE_OUTCOMES).collect();
        let message = pb::ExportOutcomesResponse { outcomes, ..pb::ExportOutcomesResponse::default() };
        (!message.outcomes.is_empty()).then_some(Ok(message))
    })
}
