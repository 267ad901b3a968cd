//! Handlers of ReportOutcomes and StreamOutcomes: they parse outcomes, submit them, and render their verdicts.

use std::{collections::VecDeque, net::SocketAddr};

use campaign_metrics::{
    name::{WorkspaceId, WorkspaceName},
    pb,
    sending::{OUTCOMES_MAX, Verdict},
    wire,
};
use futures::{FutureExt as _, future::BoxFuture, stream::try_unfold};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, Streaming};

use super::{Messages, Rpc, batch_size};
use crate::{
    error::{Error, Result},
    ingest::Verdicts,
    store::Report,
};

/// Most requests of one stream that wait for their response.
const STREAM_REQUESTS_MAX: usize = 64;
/// Most outcomes of these requests: half of what one caller gets of the queue, so that one stream leaves room for another.
const STREAM_OUTCOMES_MAX: usize = 16_384;

/// A parsed request: the outcomes that can be submitted, and the rejections of the others.
struct Read {
    report: Report,
    /// The outcomes that were not submitted, by their index in the request.
    refused: Vec<(usize, Verdict)>,
}

fn read(outcomes: Vec<pb::Outcome>, workspace: WorkspaceId) -> Result<Read> {
    batch_size("outcomes", outcomes.len(), OUTCOMES_MAX)?;
    let mut refused = Vec::new();
    let mut taken = Vec::with_capacity(outcomes.len());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match wire::outcome(&outcome, &workspace) {
            Ok(outcome) => taken.push(outcome),
            Err(rejection) => refused.push((index, Verdict::Rejected(rejection))),
        }
    }
    Ok(Read { report: Report { workspace, outcomes: taken }, refused })
}

impl Rpc {
    pub(super) async fn report(
        &self,
        request: pb::ReportOutcomesRequest,
        caller: Option<SocketAddr>,
    ) -> Result<pb::ReportOutcomesResponse> {
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        let Read { mut report, refused } = read(request.outcomes, workspace)?;
        self.store.outcomes_number(&mut report).await?;
        let verdicts = self.ingest.submit(report, caller)?;
        Ok(pb::ReportOutcomesResponse { results: self.results(verdicts, refused).await? })
    }

    async fn results(&self, verdicts: Verdicts, refused: Vec<(usize, Verdict)>) -> Result<Vec<pb::OutcomeResult>> {
        let taken = verdicts.wait().await?;
        let count = taken.len() + refused.len();
        let (mut taken, mut refused) = (taken.into_iter(), refused.into_iter().peekable());
        let verdict = |index| match refused.next_if(|(of, _)| *of == index) {
            Some((_, verdict)) => Some(verdict),
            None => taken.next(),
        };
        let verdicts: Vec<Verdict> = (0..count).filter_map(verdict).collect();
        let count = |matches: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| matches(verdict)).count() as u64;
        self.telemetry.reported(
            count(|verdict| *verdict == Verdict::Applied),
            count(|verdict| *verdict == Verdict::Duplicate),
            count(|verdict| matches!(verdict, Verdict::Rejected(_))),
        );
        Ok(verdicts.into_iter().map(Into::into).collect())
    }

    /// Answers the requests of a stream in order, and reads ahead up to the bounds.
    pub(super) fn report_stream(
        &self,
        requests: Streaming<pb::StreamOutcomesRequest>,
        caller: Option<SocketAddr>,
        room: OwnedSemaphorePermit,
    ) -> Messages<pb::StreamOutcomesResponse> {
        let stream = ReportStream {
            rpc: self.clone(),
            requests,
            caller,
            _room: room,
            workspace: None,
            pending: VecDeque::new(),
            outcomes: 0,
            end: None,
        };
        Box::pin(try_unfold(
            stream,
            |mut stream| async move { Ok(stream.next().await?.map(|response| (response, stream))) },
        ))
    }
}

/// A stream of requests, with the responses that are pending.
struct ReportStream {
    rpc: Rpc,
    requests: Streaming<pb::StreamOutcomesRequest>,
    caller: Option<SocketAddr>,
    _room: OwnedSemaphorePermit,
    workspace: Option<WorkspaceId>,
    pending: VecDeque<Pending>,
    /// Outcomes in `pending`.
    outcomes: usize,
    /// Set when no more requests are read: how the stream ends after the pending responses.
    end: Option<Result<(), Status>>,
}

struct Pending {
    outcomes: usize,
    results: BoxFuture<'static, Result<Vec<pb::OutcomeResult>>>,
}

impl ReportStream {
    /// Returns the next response; `None` at the end.
    async fn next(&mut self) -> Result<Option<pb::StreamOutcomesResponse>, Status> {
        loop {
            let has_room = self.pending.len() < STREAM_REQUESTS_MAX && self.outcomes < STREAM_OUTCOMES_MAX;
            let reads = self.end.is_none() && has_room;
            let shutdown = self.rpc.shutdown.clone();
            tokio::select! {
                biased;
                results = first(&mut self.pending), if !self.pending.is_empty() => {
                    if let Some(done) = self.pending.pop_front() {
                        self.outcomes -= done.outcomes;
                    }
                    return Ok(Some(pb::StreamOutcomesResponse { results: results? }));
                }
                () = shutdown.cancelled(), if reads => {
                    self.end = Some(Err(Error::Stopping.into()));
                }
                request = self.requests.message(), if reads => match request {
                    Ok(Some(request)) => if let Err(error) = self.take(request).await {
                        self.end = Some(Err(error.into()));
                    },
                    Ok(None) => self.end = Some(Ok(())),
                    // The caller has disconnected, so there is no one to answer.
                    Err(status) => self.end = Some(Err(status)),
                },
                () = tokio::time::sleep(self.rpc.stream_idle), if reads => self.end = Some(Err(Error::DeadlineExceeded.into())),
                // No response is pending, and no more requests are read.
                else => return self.end.take().unwrap_or(Ok(())).map(|()| None),
            }
        }
    }

    async fn take(&mut self, request: pb::StreamOutcomesRequest) -> Result<()> {
        let workspace = if let Some(workspace) = &self.workspace {
            workspace.clone()
        } else {
            let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
            self.workspace.insert(workspace).clone()
        };
        let outcomes = request.outcomes.len();
        let Read { mut report, refused } = read(request.outcomes, workspace)?;
        self.rpc.store.outcomes_number(&mut report).await?;
        let verdicts = self.rpc.ingest.submit_when_room(report, self.caller).await?;
        let rpc = self.rpc.clone();
        let results = async move { rpc.results(verdicts, refused).await }.boxed();
        self.outcomes += outcomes;
        self.pending.push_back(Pending { outcomes, results });
        Ok(())
    }
}

/// Waits for the first pending results; forever if there are none.
async fn first(pending: &mut VecDeque<Pending>) -> Result<Vec<pb::OutcomeResult>> {
    match pending.front_mut() {
        Some(head) => (&mut head.results).await,
        None => std::future::pending().await,
    }
}
