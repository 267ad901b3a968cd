//! A sender against a service of the test: answers get lost, claims are revoked, and the stop comes at any time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use campaign_metrics::pb::{
    self,
    sending_service_server::{SendingService, SendingServiceServer},
};
use campaign_simulator::{args::Options, pace::Pace, sender::Sender, service::Service, summary::Stats};
use clap::Parser as _;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

/// Longer than any of these runs, on any machine.
const SOON: Duration = Duration::from_mins(1);
/// Leads of the service.
const LEADS: usize = 250;

/// What the service knows: every claim granted, and what became of it.
#[derive(Debug, Default)]
struct Book {
    requests: BTreeMap<String, Vec<pb::Claim>>,
    calls: usize,
    granted: usize,
    released: BTreeSet<String>,
    renewed: usize,
    delivered: BTreeSet<String>,
}

/// Grants each lead once. Every second answer is lost after it was committed.
#[derive(Debug, Default, Clone)]
struct Fake {
    book: Arc<Mutex<Book>>,
    all_out: CancellationToken,
    some_delivered: CancellationToken,
    some_released: CancellationToken,
}

impl Fake {
    fn lose_every_second<T>(book: &mut Book, answer: T) -> Result<Response<T>, Status> {
        book.calls += 1;
        if book.calls.is_multiple_of(2) {
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl SendingService for Fake {
    async fn claim_sends(
        &self,
        request: Request<pb::ClaimSendsRequest>,
    ) -> Result<Response<pb::ClaimSendsResponse>, Status> {
        let request = request.into_inner();
        let mut book = self.book.lock().unwrap();
        if !book.requests.contains_key(&request.request_id) {
            let begin = book.granted;
            book.granted = LEADS.min(begin + usize::try_from(request.max_claims).unwrap());
            let claim = |number: usize| pb::Claim {
                claim_id: format!("claim-{number}"),
                lead: format!("workspaces/w/campaigns/c/leads/{number}"),
                step: 1,
                send_key: format!("key-{number}"),
                ..pb::Claim::default()
            };
            let claims = (begin..book.granted).map(claim).collect();
            book.requests.insert(request.request_id.clone(), claims);
        }
        if book.granted == LEADS {
            self.all_out.cancel();
        }
        let answer = pb::ClaimSendsResponse {
            claims: book.requests[&request.request_id].clone(),
            ..pb::ClaimSendsResponse::default()
        };
        Self::lose_every_second(&mut book, answer)
    }

    async fn list_claims(&self, _: Request<pb::ListClaimsRequest>) -> Result<Response<pb::ListClaimsResponse>, Status> {
        Err(Status::unimplemented("senders keep their claims themselves"))
    }

    async fn renew_claims(
        &self,
        request: Request<pb::RenewClaimsRequest>,
    ) -> Result<Response<pb::RenewClaimsResponse>, Status> {
        self.book.lock().unwrap().renewed += 1;
        // The campaign stays paused, so nothing may be sent any more.
        let revoked =
            |claim_id| pb::RenewResult { claim_id, verdict: pb::RenewVerdict::Revoked.into(), expire_time: None };
        let results = request.into_inner().claim_ids.into_iter().map(revoked).collect();
        Ok(Response::new(pb::RenewClaimsResponse { results }))
    }

    async fn release_claims(
        &self,
        request: Request<pb::ReleaseClaimsRequest>,
    ) -> Result<Response<pb::ReleaseClaimsResponse>, Status> {
        let mut book = self.book.lock().unwrap();
        book.released.extend(request.into_inner().claim_ids);
        self.some_released.cancel();
        Self::lose_every_second(&mut book, pb::ReleaseClaimsResponse::default())
    }

    async fn resolve_claims(
        &self,
        _: Request<pb::ResolveClaimsRequest>,
    ) -> Result<Response<pb::ResolveClaimsResponse>, Status> {
        Err(Status::unimplemented("senders do not know what became of what they lost"))
    }

    type StreamOutcomesStream = futures::stream::Empty<Result<pb::StreamOutcomesResponse, Status>>;

    async fn stream_outcomes(
        &self,
        _: Request<Streaming<pb::StreamOutcomesRequest>>,
    ) -> Result<Response<Self::StreamOutcomesStream>, Status> {
        Err(Status::unimplemented("these senders report in batches"))
    }

    async fn report_outcomes(
        &self,
        request: Request<pb::ReportOutcomesRequest>,
    ) -> Result<Response<pb::ReportOutcomesResponse>, Status> {
        let mut book = self.book.lock().unwrap();
        let mut results = Vec::new();
        for outcome in request.into_inner().outcomes {
            let is_new = book.delivered.insert(outcome.send_key);
            let verdict = if is_new { pb::OutcomeVerdict::Applied } else { pb::OutcomeVerdict::Duplicate };
            results.push(pb::OutcomeResult { verdict: verdict.into(), ..pb::OutcomeResult::default() });
        }
        self.some_delivered.cancel();
        Self::lose_every_second(&mut book, pb::ReportOutcomesResponse { results })
    }
}

/// Starts the service, which ends with the returned set, and one sender, who delivers everything and does nothing else.
async fn play(fake: &Fake, line: &str) -> (JoinHandle<anyhow::Result<Stats>>, CancellationToken, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_service(SendingServiceServer::new(fake.clone()));
    let mut serving = JoinSet::new();
    serving.spawn(async {
        server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
    });

    let quiet = "--delivered-ratio 1 --reply-ratio 0 --auto-reply-ratio 0 --conversion-ratio 0 --opt-out-ratio 0";
    let line = format!("s --server {url} {quiet} {line}");
    let options = Arc::new(Options::try_parse_from(line.split(' ')).unwrap());
    let stop = CancellationToken::new();
    let service = Service::new(&options.connection.server, stop.clone()).unwrap();
    let pace = Arc::new(Pace::new(options.rate));
    let sender = Sender::new(service, "workspaces/w/accounts/a", options, pace, None, 1);
    (tokio::spawn(sender.run()), stop, serving)
}

#[tokio::test]
async fn lost_answers_strand_no_claim_and_no_outcome() {
    let fake = Fake::default();
    let (sender, stop, _serving) = play(&fake, "--rate 100000 --max-claims 50 --late-ratio 0.5").await;
    timeout(SOON, fake.all_out.cancelled()).await.expect("all leads are claimed soon");
    stop.cancel();
    let stats = timeout(SOON, sender).await.expect("the sender stops soon").unwrap().unwrap();
    let book = fake.book.lock().unwrap();
    assert_eq!(stats.claims, LEADS as u64);
    assert_eq!(stats.messages + stats.released, LEADS as u64);
    assert_eq!(book.delivered.len() + book.released.len(), LEADS, "sent or given back, and never both");
    assert!(book.calls > book.requests.len(), "answers were lost");
}

#[tokio::test]
async fn a_stop_releases_what_was_not_sent() {
    let fake = Fake::default();
    let (sender, stop, _serving) = play(&fake, "--rate 100 --max-claims 100").await;
    timeout(SOON, fake.some_delivered.cancelled()).await.expect("the first messages go out soon");
    stop.cancel();
    let stats = timeout(SOON, sender).await.expect("the sender stops soon").unwrap().unwrap();
    let book = fake.book.lock().unwrap();
    assert!(stats.released > 0 && stats.messages > 0, "{stats:?}");
    assert_eq!(book.delivered.len() + book.released.len(), book.granted);
    assert_eq!(stats.released, book.released.len() as u64);
}

#[tokio::test]
async fn claims_held_for_long_are_renewed_and_revoked_ones_released_unsent() {
    let fake = Fake::default();
    // The first message would go out after a thousand seconds, the claims are renewed after half a second.
    let (sender, stop, _serving) = play(&fake, "--rate 0.001 --hold-seconds 1").await;
    timeout(SOON, fake.some_released.cancelled()).await.expect("the claims are released soon");
    stop.cancel();
    let stats = timeout(SOON, sender).await.expect("the sender stops soon").unwrap().unwrap();
    let book = fake.book.lock().unwrap();
    assert_eq!((stats.messages, book.delivered.len()), (0, 0));
    assert!(book.renewed > 0 && book.released.len() == book.granted);
}
