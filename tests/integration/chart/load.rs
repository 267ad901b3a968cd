//! Senders that claim and report without a pause while pods come and go, as clients of a headless Service: they call the
//! pods that are ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::pb::{self, OutcomeVerdict, sending_service_client::SendingServiceClient};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, api::ListParams};
use rand::seq::IndexedRandom as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::harness::{
    kubelet::Kubelet,
    wait::{SOON, until},
};

/// Senders at once.
const SENDERS: usize = 4;

/// What the senders were told.
#[derive(Debug, Default, Clone)]
pub struct Told {
    /// Outcomes that were acknowledged as applied.
    pub applied: u64,
    /// Outcomes by the pod that acknowledged them.
    pub by_pod: BTreeMap<String, u64>,
    /// Calls that failed, and verdicts other than applied.
    pub failures: Vec<String>,
}

/// Running senders of one account.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
    told: Arc<Mutex<Told>>,
}

/// The URLs of the pods of a Service that are ready.
pub async fn ready(client: &Client, namespace: &str, service: &str, port: u16) -> Result<Vec<String>> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let endpoints = slices.list(&of_service).await?.items.into_iter().flat_map(|slice| slice.endpoints);
    let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|is| is.ready == Some(true)));
    let addresses = ready.flat_map(|endpoint| endpoint.addresses);
    Ok(addresses.map(|address| format!("http://{}:{port}", Kubelet::loopback(&address))).collect())
}

impl Load {
    /// Starts senders of `account`.
    pub fn start(client: &Client, namespace: &str, service: &str, port: u16, account: &str) -> Self {
        let (stop, told) = (CancellationToken::new(), Arc::new(Mutex::new(Told::default())));
        let urls = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (client, namespace, service) = (client.clone(), namespace.to_owned(), service.to_owned());
        let (follower_urls, follower_stop) = (Arc::clone(&urls), stop.clone());
        tasks.spawn(async move {
            // The resolver of a real client is late, too: answers are cached. A pod that leaves waits 5 s for that.
            while !follower_stop.is_cancelled() {
                *follower_urls.lock().expect("no holder panics") = ready(&client, &namespace, &service, port).await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Ok(())
        });
        for _ in 0..SENDERS {
            let sender = Sender { urls: Arc::clone(&urls), told: Arc::clone(&told), account: account.to_owned() };
            tasks.spawn(sender.run(stop.clone()));
        }
        Self { stop, tasks, told }
    }

    /// What they were told so far.
    pub fn told(&self) -> Told {
        self.told.lock().expect("no holder panics").clone()
    }

    /// Waits until they have reported `more` outcomes from now on.
    pub async fn goes_on(&self, more: u64) {
        let before = self.told().applied;
        let look = async || {
            let applied = self.told().applied;
            ensure!(applied >= before + more, "{applied} after {before}; {:?}", self.told().failures);
            Ok(())
        };
        until("outcomes to be acknowledged", SOON, look).await.unwrap();
    }

    /// Stops them.
    pub async fn stop(mut self) -> Told {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no sender panics").unwrap();
        }
        self.told()
    }
}

struct Sender {
    urls: Arc<Mutex<Vec<String>>>,
    told: Arc<Mutex<Told>>,
    account: String,
}

impl Sender {
    async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut channels = BTreeMap::<String, SendingServiceClient<Channel>>::new();
        while !stop.is_cancelled() {
            let url = self.urls.lock().expect("no holder panics").choose(&mut rand::rng()).cloned();
            let Some(url) = url else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let client = channels.entry(url.clone()).or_insert_with(|| {
                SendingServiceClient::new(Endpoint::try_from(url.clone()).expect("a URL").connect_lazy())
            });
            match self.send(client).await {
                Ok(applied) => {
                    let mut told = self.told.lock().expect("no holder panics");
                    told.applied += applied;
                    *told.by_pod.entry(url).or_default() += applied;
                }
                Err(error) => self.told.lock().expect("no holder panics").failures.push(format!("{url}: {error:#}")),
            }
        }
        Ok(())
    }

    /// Claims one step and reports it as delivered.
    async fn send(&self, client: &mut SendingServiceClient<Channel>) -> Result<u64> {
        let claim = pb::ClaimSendsRequest { account: self.account.clone(), max_claims: 1, ..Default::default() };
        let claims = client.claim_sends(claim).await.context("ClaimSends")?.into_inner().claims;
        let outcome = |claim: pb::Claim| pb::Outcome {
            send_key: claim.send_key,
            kind: pb::OutcomeKind::Delivered.into(),
            ..Default::default()
        };
        let outcomes: Vec<pb::Outcome> = claims.into_iter().map(outcome).collect();
        ensure!(!outcomes.is_empty(), "no claim was granted");
        let parent = self.account.split("/accounts/").next().unwrap_or_default().to_owned();
        let report = pb::ReportOutcomesRequest { parent, outcomes };
        let results = client.report_outcomes(report).await.context("ReportOutcomes")?.into_inner().results;
        for result in &results {
            ensure!(result.verdict() == OutcomeVerdict::Applied, "{result:?}");
        }
        Ok(results.len() as u64)
    }
}
