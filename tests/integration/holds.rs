//! Holds through the API, with two replicas: who places one stops the campaign on both, and what an owner applies meanwhile
//! does not start it again.

use campaign_metrics::pb::{self, CampaignState, NotSendingReason, Owner};
use campaign_metrics_service::Clock;
use jiff::Timestamp;
use tonic::{Code, Status};

use crate::{
    harness::service::{Service, monday},
    world::{
        add_leads, assert_refused, campaign_name, claim, create_account, create_campaign, get, pause, reasons, resume,
        settings,
    },
};

fn owner(generation: i64) -> Owner {
    Owner { resource: "acme/spring".into(), uid: "u-1".into(), generation, fencing_token: 7, cluster: "c-1".into() }
}

/// Applies a spec, edited at a second of the clock of Kubernetes.
async fn apply(service: &Service, state: CampaignState, owner: Owner, edited: Option<Timestamp>) -> pb::Campaign {
    let request = pb::ApplyCampaignRequest {
        campaign: Some(pb::Campaign { name: campaign_name("spring"), ..settings(1, &["ann"]) }),
        state: state.into(),
        owner: Some(owner),
        edit_time: edited.map(|at| prost_types::Timestamp { seconds: at.as_second(), nanos: 0 }),
        ..Default::default()
    };
    service.campaigns.clone().apply_campaign(request).await.expect("it is applied").into_inner()
}

async fn hold(service: &Service, reason: &str) -> Result<pb::Campaign, Status> {
    let request = pb::PauseCampaignRequest {
        name: campaign_name("spring"),
        r#override: true,
        reason: reason.into(),
        ..Default::default()
    };
    Ok(service.campaigns.clone().pause_campaign(request).await?.into_inner())
}

async fn lift(service: &Service) -> Result<pb::Campaign, Status> {
    let name = campaign_name("spring");
    let request = pb::ResumeCampaignRequest { name, r#override: true, ..Default::default() };
    Ok(service.campaigns.clone().resume_campaign(request).await?.into_inner())
}

#[tokio::test]
async fn a_hold_placed_on_one_replica_stops_the_other_and_what_its_owner_applied_before_leaves_it() {
    let first = Service::start().await;
    let second = Service::on(&first.database, Clock::manual(monday())).await;
    create_account(&first, "ann", None).await;
    apply(&first, CampaignState::Active, owner(4), None).await;
    add_leads(&first, "spring", 9, None, false).await;
    assert_eq!(claim(&second, "ann", 2).await.claims.len(), 2);
    let held = hold(&first, "wrong prices").await.unwrap();
    assert_eq!((held.state(), held.in_flight_claims), (CampaignState::Paused, 2));
    let since = Timestamp::new(held.hold.as_ref().unwrap().place_time.unwrap().seconds, 0).unwrap();
    assert_eq!(since, monday());
    for replica in [&first, &second] {
        assert_eq!(reasons(&claim(replica, "ann", 1).await), [NotSendingReason::Paused]);
    }

    let ago = |seconds| Some(monday() - jiff::SignedDuration::from_secs(seconds));
    let cases = [
        ("the same generation", CampaignState::Active, 4, ago(-60)),
        ("an edit before the hold", CampaignState::Active, 5, ago(1)),
        ("that edit again, whatever time is said", CampaignState::Active, 5, ago(-60)),
    ];
    for (case, state, generation, edited) in cases {
        let applied = apply(&second, state, owner(generation), edited).await;
        assert_eq!((applied.state(), applied.hold.as_ref()), (CampaignState::Paused, held.hold.as_ref()), "{case}");
        assert_eq!(applied.owner, Some(owner(generation)), "{case} is noted");
    }
    let lifted = apply(&second, CampaignState::Active, owner(6), ago(0)).await;
    assert_eq!((lifted.state(), lifted.hold), (CampaignState::Active, None), "an edit in the second of the hold");
    assert_eq!(claim(&first, "ann", 1).await.claims.len(), 1);

    hold(&second, "again").await.unwrap();
    let lifted = apply(&first, CampaignState::Paused, owner(7), None).await;
    assert_eq!((lifted.state(), lifted.hold), (CampaignState::Paused, None), "without a time the generation decides");
}

#[tokio::test]
async fn a_resource_that_takes_over_finds_the_hold_and_what_it_declares_waits() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    let held = hold(&service, "").await.unwrap();
    let adopted = apply(&service, CampaignState::Active, owner(1), None).await;
    assert_eq!((adopted.state(), &adopted.hold), (CampaignState::Paused, &held.hold), "it is taken over with its hold");
    let recreated = Owner { uid: "u-2".into(), ..owner(2) };
    let taken = apply(&service, CampaignState::Finished, recreated.clone(), None).await;
    assert_eq!((taken.state(), taken.owner), (CampaignState::Paused, Some(recreated)));
    assert_eq!(taken.hold.unwrap().return_state(), CampaignState::Finished, "for when the hold is lifted");
    assert_eq!(lift(&service).await.unwrap().state(), CampaignState::Finished);
}

#[tokio::test]
async fn a_hold_of_a_campaign_without_owner_ends_with_its_resumption() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    let first = hold(&service, "first").await.unwrap();
    service.clock.advance(std::time::Duration::from_secs(90));
    let second = hold(&service, "second").await.unwrap();
    assert_ne!(second.etag, first.etag);
    let (first, second) = (first.hold.unwrap(), second.hold.unwrap());
    assert_eq!(second.reason, "second");
    assert_eq!(second.place_time.unwrap().seconds - first.place_time.unwrap().seconds, 90, "the later one holds");
    assert_eq!(second.return_state(), CampaignState::Active, "not the state under the first hold");
    assert_eq!(pause(&service, "spring").await.hold, Some(second), "a pause leaves it");
    let resumed = resume(&service, "spring").await;
    assert_eq!((resumed.state(), resumed.hold), (CampaignState::Active, None));
    assert_eq!(lift(&service).await.unwrap().state(), CampaignState::Active, "there is nothing to lift");
}

#[tokio::test]
async fn what_a_hold_can_not_be_is_refused() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let managed = apply(&service, CampaignState::Active, owner(4), None).await;
    let pause = async |change: fn(&mut pb::PauseCampaignRequest)| {
        let mut request = pb::PauseCampaignRequest { name: campaign_name("spring"), ..Default::default() };
        change(&mut request);
        service.campaigns.clone().pause_campaign(request).await
    };
    for (field, change) in [
        ("reason", (|request| request.reason = "without override".into()) as fn(&mut pb::PauseCampaignRequest)),
        ("reason", |request| (request.r#override, request.reason) = (true, "r".repeat(513))),
        ("reason", |request| (request.r#override, request.reason) = (true, "a\0b".into())),
        ("owner_uid", |request| (request.r#override, request.owner_uid) = (true, "u-1".into())),
    ] {
        assert_refused(pause(change).await, Code::InvalidArgument, "INVALID_FIELD", field);
    }
    let stale = pause(|request| (request.r#override, request.etag) = (true, "\"r999\"".into())).await;
    assert_refused(stale, Code::Aborted, "ETAG_MISMATCH", "etag");
    let other = pause(|request| request.owner_uid = "u-2".into()).await;
    assert_refused(other, Code::FailedPrecondition, "CAMPAIGN_OWNED", "acme/spring");
    assert_refused(lift(&service).await, Code::FailedPrecondition, "CAMPAIGN_MANAGED", "acme/spring");
    assert_eq!(get(&service, "spring").await, managed, "nothing changed");
    let longest = pause(|request| (request.r#override, request.reason) = (true, "ä".repeat(512))).await.unwrap();
    assert_eq!(longest.into_inner().hold.unwrap().reason, "ä".repeat(512));
    let request = pb::ResumeCampaignRequest { name: campaign_name("spring"), ..Default::default() };
    let resumed = service.campaigns.clone().resume_campaign(request).await;
    assert_refused(
        resumed,
        Code::FailedPrecondition,
        "CAMPAIGN_MANAGED",
        "resume it with `override`, which lifts its hold",
    );

    let finished = apply(&service, CampaignState::Finished, owner(5), None).await;
    assert_eq!((finished.state(), finished.hold), (CampaignState::Finished, None), "an edit lifts it");
    assert_refused(hold(&service, "").await, Code::FailedPrecondition, "ILLEGAL_TRANSITION", "FINISHED");
}
