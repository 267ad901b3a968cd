//! Steady state: a reconcile that finds nothing to do writes neither to Kubernetes nor to the service.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use campaign_controller::{
    cluster::ClusterId,
    crd::{Campaign, CampaignSpec, DesiredState, FindingKind},
    events::Recorder,
    memory::Source,
    metrics::Metrics,
    reconcile::{Context, Error, reconcile, retry},
};
use campaign_metrics::pb::{self, performance_service_client::PerformanceServiceClient};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tonic::{Code, transport::Endpoint};

use super::stage::{Controller, Stage, service};
use crate::harness::{kube::cluster, service::Service};

#[tokio::test]
async fn reconciles_that_find_nothing_new_write_nothing() {
    let service = service().await;
    let mut stage = Stage::start(&service.url).await;
    // The campaign and its leads exist before, so that the first status has the counts.
    stage.create_campaign(&service, "still", pb::Campaign { steps: 1, ..Default::default() }).await;
    stage.leads(&service, "still", 3, false).await;
    stage.apply("still", &json!({})).await;
    let synced = stage.synced("still").await;
    let campaign = stage.campaign(&service, "still").await.unwrap();

    // A new controller has an empty memory and applies every spec once.
    stage.controller = Controller::start(&stage.cluster.kubeconfig, &service.url, &stage.namespace).await;
    let mut reconciles = stage.controller.idle_after(1).await;
    let unchanged = stage.resource("still").await.unwrap();
    assert_eq!(unchanged.metadata.resource_version, synced.metadata.resource_version);

    let mut version = Value::Null;
    for round in 0..3 {
        let note = format!("example.org/round={round}");
        let annotate = ["annotate", "campaign", "still", "--overwrite", &note, "-o", "json"];
        let annotated = stage.kubectl(&annotate).await.success().unwrap();
        let annotated: Value = serde_json::from_str(&annotated).unwrap();
        version = annotated["metadata"]["resourceVersion"].clone();
        reconciles = stage.controller.idle_after(reconciles + 1).await;
    }
    // The streams still work: a change of another campaign arrives.
    stage.apply("marker", &json!({})).await;
    stage.synced("marker").await;
    stage.leads(&service, "marker", 1, false).await;
    stage
        .see("marker", "the count of the other campaign", |resource| {
            let status = resource.status.as_ref();
            status.and_then(|status| status.counts).is_some_and(|counts| counts.total == 1)
        })
        .await;
    let unchanged = stage.resource("still").await.unwrap();
    assert_eq!(unchanged.metadata.resource_version.unwrap(), version.as_str().unwrap());
    assert_eq!(unchanged.status, synced.status);
    assert_eq!(stage.campaign(&service, "still").await.unwrap().etag, campaign.etag, "nor in the service");
    let events = stage.events("still").await;
    let reasons: Vec<_> = events.iter().map(|event| (&event["reason"], &event["type"])).collect();
    assert_eq!(reasons, [(&json!("Adopted"), &json!("Normal"))], "once, and it replaced nothing");
}

/// The reconciler without watches: a test decides when a resource is reconciled.
pub struct Alone {
    pub service: Service,
    pub resources: Api<Campaign>,
    pub context: Arc<Context>,
    pub namespace: String,
}

impl Alone {
    pub async fn start() -> Self {
        let (service, cluster) = (service().await, cluster().await);
        let namespace = cluster.namespace("alone").await.unwrap();
        let kubernetes = cluster.client().await.unwrap();
        let context = Context {
            cluster: ClusterId::default(),
            recorder: Recorder::new(kubernetes.clone()),
            kubernetes: kubernetes.clone(),
            service: service.campaigns.clone(),
            performance: service.performance.clone(),
            memory: Arc::default(),
            metrics: Arc::new(Metrics::new(1).unwrap()),
        };
        let resources = Api::namespaced(kubernetes, &namespace);
        Self { service, resources, context: Arc::new(context), namespace }
    }

    /// Creates a resource, and returns it as a cache has it before the first reconcile.
    pub async fn create(&self) -> Arc<Campaign> {
        let mut resource = Campaign::new("spring", CampaignSpec::default());
        resource.spec.steps = 1;
        resource.spec.follow_up_delay = "1h".into();
        Arc::new(self.resources.create(&PostParams::default(), &resource).await.unwrap())
    }

    pub async fn get(&self) -> Arc<Campaign> {
        Arc::new(self.resources.get("spring").await.unwrap())
    }

    pub async fn reconcile(&self, resource: &Arc<Campaign>) {
        reconcile(Arc::clone(resource), Arc::clone(&self.context)).await.unwrap();
    }

    /// Reads the campaign from the service.
    pub async fn campaign(&self) -> pb::Campaign {
        let name = format!("workspaces/{}/campaigns/spring", self.namespace);
        self.service.campaigns.clone().get_campaign(pb::GetCampaignRequest { name }).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn a_cache_that_is_behind_fails_no_reconcile() {
    let alone = Alone::start().await;
    let created = alone.create().await;
    // The second reconcile finds the finalizer, which its copy of the resource lacks.
    for _ in 0..2 {
        alone.reconcile(&created).await;
    }
    alone.reconcile(&alone.get().await).await;
    alone.resources.delete("spring", &DeleteParams::default()).await.unwrap();
    let deleted = alone.get().await;
    // The second reconcile finds no resource, although its copy still has the finalizer.
    for _ in 0..2 {
        alone.reconcile(&deleted).await;
    }
    assert!(alone.resources.get_opt("spring").await.unwrap().is_none());
}

#[tokio::test]
async fn counts_that_change_again_at_once_wait_or_are_written_with_a_condition() {
    let alone = Alone::start().await;
    alone.reconcile(&alone.create().await).await;
    let behind = alone.get().await;
    alone.reconcile(&behind).await;
    let written = alone.get().await;
    assert!(behind.status.is_none() && written.status.is_some(), "one is written, which the copy lacks");
    let version = || async { alone.get().await.metadata.resource_version.clone() };
    // The controller remembers what it wrote while the cache does not have it yet.
    for _ in 0..2 {
        alone.reconcile(&behind).await;
        assert_eq!(version().await, written.metadata.resource_version, "nothing changed");
    }
    let mut campaign = alone.campaign().await;
    campaign.lead_counts = Some(pb::LeadCounts { pending: 7, total: 7, ..Default::default() });
    alone.context.memory.observe(campaign.clone(), Source::Answer, Timestamp::now());
    alone.reconcile(&behind).await;
    assert_eq!(version().await, written.metadata.resource_version, "counts were written a moment ago");
    campaign.not_sending_reasons = vec![pb::NotSendingReason::OutsideActiveHours.into()];
    alone.context.memory.observe(campaign, Source::Answer, Timestamp::now());
    alone.reconcile(&behind).await;
    let status = alone.get().await.status.clone().unwrap();
    assert_eq!(status.counts.unwrap().total, 7, "the change of a condition is written at once");
}

#[tokio::test]
async fn a_state_is_written_before_a_new_diagnosis_and_a_failed_diagnosis_fails_no_reconcile() {
    let alone = Alone::start().await;
    alone.reconcile(&alone.create().await).await;
    alone.reconcile(&alone.get().await).await;
    let status = async || alone.get().await.status.clone().unwrap();
    let uid = alone.get().await.metadata.uid.clone().unwrap();
    let edit = async |state: &str| {
        let patch = Patch::Merge(json!({"spec": {"state": state}}));
        alone.resources.patch("spring", &PatchParams::default(), &patch).await.unwrap();
        alone.reconcile(&alone.get().await).await;
    };
    // Moves the last write and the last diagnosis into the past.
    let wait = |minutes| {
        let ago = Instant::now().checked_sub(Duration::from_mins(minutes)).expect("a time");
        alone.context.memory.remember(&uid, |remembered| {
            remembered.written = Some(ago);
            remembered.diagnosed.as_mut().expect("a diagnosis").0 = ago;
        });
    };
    assert_eq!(status().await.finding.map(|found| found.kind), Some(FindingKind::NotSending), "it has no account");
    edit("Paused").await;
    let paused = status().await;
    assert_eq!(
        (paused.state, paused.finding),
        (Some(DesiredState::Paused), None),
        "someone chose that it sends nothing"
    );
    wait(2);
    edit("Active").await;
    let active = status().await;
    assert_eq!((active.state, active.finding), (Some(DesiredState::Active), None), "the state comes first");
    wait(2);
    alone.reconcile(&alone.get().await).await;
    let diagnosed = status().await;
    assert_eq!(diagnosed.finding.as_ref().map(|found| found.kind), Some(FindingKind::NotSending));

    wait(61);
    let nobody = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let context = Context { performance: PerformanceServiceClient::new(nobody), ..(*alone.context).clone() };
    reconcile(alone.get().await, Arc::new(context)).await.unwrap();
    let (_, last) = alone.context.memory.recall(&uid).diagnosed.expect("a diagnosis");
    assert_eq!(last.judged, None, "it failed");
    assert_eq!(status().await, diagnosed, "what is known stays");
}

#[tokio::test]
async fn failures_in_a_row_are_counted_until_a_success() {
    let alone = Alone::start().await;
    let created = alone.create().await;
    let uid = created.metadata.uid.clone().unwrap();
    for failures in 1..4 {
        retry(Arc::clone(&created), &Error::Deadline, Arc::clone(&alone.context));
        assert_eq!(alone.context.memory.recall(&uid).attempts, failures);
    }
    alone.reconcile(&created).await;
    assert_eq!(alone.context.memory.recall(&uid).attempts, 0);
}

#[tokio::test]
async fn what_was_refused_for_good_is_not_tried_again_before_an_edit() {
    let alone = Alone::start().await;
    let name = format!("workspaces/{}/campaigns/spring", alone.namespace);
    let mut campaigns = alone.service.campaigns.clone();
    let request = pb::CreateCampaignRequest {
        parent: format!("workspaces/{}", alone.namespace),
        campaign_id: "spring".into(),
        campaign: Some(pb::Campaign::default()),
        ..Default::default()
    };
    campaigns.create_campaign(request).await.unwrap();
    alone.create().await;
    let edit = async |spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        alone.resources.patch("spring", &PatchParams::default(), &patch).await.unwrap();
        // The first reconcile adds the finalizer.
        for _ in 0..2 {
            alone.reconcile(&alone.get().await).await;
        }
    };
    edit(json!({"adoptionPolicy": "Never"})).await;
    let delete = pb::DeleteCampaignRequest { name: name.clone(), ..Default::default() };
    campaigns.delete_campaign(delete).await.unwrap();
    // The cause is gone, but the resource was not edited.
    alone.reconcile(&alone.get().await).await;
    let tried = campaigns.get_campaign(pb::GetCampaignRequest { name }).await;
    assert_eq!(tried.unwrap_err().code(), Code::NotFound);
    edit(json!({"displayName": "Spring"})).await;
    assert_eq!(alone.campaign().await.display_name, "Spring");
}

#[tokio::test]
async fn counts_that_had_to_wait_are_written_without_another_change() {
    let service = service().await;
    let stage = Stage::start(&service.url).await;
    stage.apply("spring", &json!({})).await;
    stage.synced("spring").await;
    // The first leads also change a condition, so the counts are written with it. Later leads change counts alone.
    for leads in [1, 3] {
        stage.leads(&service, "spring", leads, false).await;
        let counted = |resource: &Campaign| {
            let counts = resource.status.as_ref().and_then(|status| status.counts);
            counts.is_some_and(|counts| counts.total == i64::try_from(leads).expect("few leads"))
        };
        stage.see("spring", &format!("the count of {leads}"), counted).await;
    }
}
