//! Nothing that a person or a provider said is lost: opt-outs of campaigns that are over or deleted, facts with texts that
//! are too long or no texts at all, facts with times that were never set.

use campaign_metrics::pb::{self, LeadStatus, OutcomeKind, OutcomeVerdict};
use tonic::{
    Code, Request, Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::{
    edges::{move_to, stamp, time},
    harness::service::{Service, monday},
    world::{
        WORKSPACE, add_leads, by_key, by_lead, campaign_name, claim, create_account, create_campaign, finish, get,
        lead_name, report, report_new, settings, try_add,
    },
};

/// Verdict and reason of each result.
fn told(results: &[pb::OutcomeResult]) -> Vec<(OutcomeVerdict, &str)> {
    results.iter().map(|result| (result.verdict(), result.reason.as_str())).collect()
}

const APPLIED: (OutcomeVerdict, &str) = (OutcomeVerdict::Applied, "");
const DUPLICATE: (OutcomeVerdict, &str) = (OutcomeVerdict::Duplicate, "");

async fn opted_out(service: &Service) -> Vec<String> {
    let request = pb::ListOptOutsRequest { parent: WORKSPACE.into(), ..Default::default() };
    let page = service.opt_outs.clone().list_opt_outs(request).await.expect("a page").into_inner();
    page.opt_outs.into_iter().map(|opt_out| opt_out.name.rsplit('/').next().unwrap().to_owned()).collect()
}

async fn lead(service: &Service, campaign: &str, id: &str) -> pb::Lead {
    let request = pb::GetLeadRequest { name: lead_name(campaign, id) };
    service.leads.clone().get_lead(request).await.expect("a lead").into_inner()
}

async fn trail(service: &Service, campaign: &str, id: &str) -> Vec<pb::LeadOutcome> {
    let request = pb::ListLeadOutcomesRequest { parent: lead_name(campaign, id), ..Default::default() };
    service.leads.clone().list_lead_outcomes(request).await.expect("a trail").into_inner().outcomes
}

#[tokio::test]
async fn an_opt_out_is_listed_whatever_became_of_its_campaign() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    let past = pb::Campaign { settle_seconds: Some(0), attribution_days: Some(0), ..settings(1, &["ann"]) };
    create_campaign(&service, "past", past).await;
    create_campaign(&service, "gone", settings(1, &["ann"])).await;
    create_campaign(&service, "open", settings(1, &["ann"])).await;
    add_leads(&service, "past", 5, None, false).await;
    let of_past = claim(&service, "ann", 5).await.claims;
    add_leads(&service, "gone", 7, None, false).await;
    let of_gone = claim(&service, "ann", 7).await.claims;
    add_leads(&service, "open", 6, None, false).await;
    finish(&service, "past").await;
    let gone = pb::DeleteCampaignRequest { name: campaign_name("gone"), force: true, ..Default::default() };
    service.campaigns.clone().delete_campaign(gone).await.expect("it is deleted");
    move_to(&service, monday().checked_add(jiff::SignedDuration::from_hours(2)).unwrap());
    service.store().campaigns_finalize().await.unwrap();

    let opt_out = OutcomeKind::OptedOut;
    let key_of = |claims: &[pb::Claim], id: &str| {
        by_key(claims.iter().find(|claim| claim.lead.ends_with(&format!("/{id}"))).expect("it is claimed"), opt_out)
    };
    let long = "she wrote: no more. ".repeat(70);
    let outcomes = || {
        vec![
            by_lead("past", "l0", 1, OutcomeKind::Delivered),
            pb::Outcome { detail: long.clone(), ..by_lead("past", "l1", 0, opt_out) },
            key_of(&of_past, "l2"),
            by_lead("gone", "l3", 0, opt_out),
            key_of(&of_gone, "l4"),
            by_lead("never", "l9", 0, opt_out),
            by_lead("past", "l0", 9, OutcomeKind::Delivered),
        ]
    };
    let results = report(&service, outcomes()).await;
    let (is_final, unnamed) =
        ((OutcomeVerdict::Rejected, "CAMPAIGN_FINAL"), (OutcomeVerdict::Rejected, "UNKNOWN_LEAD"));
    let out_of_range = (OutcomeVerdict::Rejected, "STEP_OUT_OF_RANGE");
    assert_eq!(told(&results), [is_final, APPLIED, APPLIED, APPLIED, unnamed, APPLIED, out_of_range]);
    assert!(results[4].message.contains("AddOptOuts"), "the rejection says how: {}", results[4].message);
    assert_eq!(opted_out(&service).await, ["l1", "l2", "l3", "l9"]);
    let again = report(&service, outcomes()).await;
    assert_eq!(told(&again), [is_final, DUPLICATE, DUPLICATE, DUPLICATE, unnamed, DUPLICATE, out_of_range]);

    assert_eq!(get(&service, "past").await.message_counts.unwrap().opted_out_leads, 0, "what is over stays as it is");
    for id in ["l1", "l2", "l3"] {
        assert_eq!(lead(&service, "open", id).await.status(), LeadStatus::Failed, "{id} of another campaign");
    }
    let later = ["l9", "l4"].map(|id| pb::NewLead { lead_id: id.into(), ..Default::default() });
    create_campaign(&service, "later", settings(1, &["ann"])).await;
    try_add(&service, "later", later.into(), false).await.expect("leads");
    assert_eq!(lead(&service, "later", "l9").await.status(), LeadStatus::Failed, "it is added later");
    assert_eq!(lead(&service, "later", "l4").await.status(), LeadStatus::Pending, "its opt-out was rejected");
}

/// Sends bytes as they are.
#[derive(Default)]
struct RawCodec<Answer>(std::marker::PhantomData<Answer>);

struct RawEncoder;

impl Encoder for RawEncoder {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl<Answer: prost::Message + Default + Send + 'static> Codec for RawCodec<Answer> {
    type Encode = Vec<u8>;
    type Decode = Answer;
    type Encoder = RawEncoder;
    type Decoder = ProstDecoder<Answer>;

    fn encoder(&mut self) -> RawEncoder {
        RawEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<Answer> {
        ProstCodec::<Answer, Answer>::raw_decoder(BufferSettings::default())
    }
}

async fn raw_client(service: &Service) -> tonic::client::Grpc<tonic::transport::Channel> {
    let channel = Endpoint::from_shared(service.url.clone()).unwrap().connect().await.expect("a connection");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("it is ready");
    client
}

async fn call<Answer: prost::Message + Default + Send + 'static>(
    service: &Service,
    method: &'static str,
    body: Vec<u8>,
) -> Result<Answer, Status> {
    let path = PathAndQuery::from_static(method);
    let mut client = raw_client(service).await;
    client
        .unary(Request::new(body), path, RawCodec::<Answer>(std::marker::PhantomData))
        .await
        .map(tonic::Response::into_inner)
}

/// The encoding of a message in which `BROKEN` is replaced by bytes that are not UTF-8.
fn broken(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    while let Some(at) = bytes.windows(6).position(|window| window == b"BROKEN") {
        bytes[at..at + 6].copy_from_slice(b"a\xff\xc3(\x80b");
    }
    bytes
}

#[tokio::test]
async fn a_fact_is_taken_whatever_its_text() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 9, Some("ann"), false).await;
    let bounced = |id: &str, detail: &str| pb::Outcome {
        detail: detail.to_owned(),
        ..by_lead("spring", id, 1, OutcomeKind::Bounced)
    };
    // 1024 bytes lie within the 342nd sign of three bytes.
    report_new(
        &service,
        vec![bounced("l0", &"€".repeat(400)), bounced("l1", "550\0 user\u{1b}[31m\u{7f}\u{85} unknown\r\n")],
    )
    .await;
    assert_eq!(trail(&service, "spring", "l0").await[0].detail, "€".repeat(341));
    assert_eq!(trail(&service, "spring", "l1").await[0].detail, "550 user[31m unknown");

    let outcomes = vec![
        bounced("l2", "before"),
        bounced("l3", "BROKEN"),
        by_lead("spring", "BROKEN", 1, OutcomeKind::Bounced),
        pb::Outcome { send_key: "BROKEN".into(), kind: OutcomeKind::Delivered.into(), ..Default::default() },
        bounced("l4", "after"),
    ];
    let (invalid, parent) = ((OutcomeVerdict::Rejected, "INVALID_OUTCOME"), WORKSPACE.to_owned());
    let request = broken(&pb::ReportOutcomesRequest { parent: parent.clone(), outcomes: outcomes.clone() });
    let method = "/campaign_metrics.v1.SendingService/ReportOutcomes";
    let answer: pb::ReportOutcomesResponse = call(&service, method, request).await.expect("verdicts");
    assert_eq!(told(&answer.results), [APPLIED, APPLIED, invalid, invalid, APPLIED]);
    let named: Vec<bool> = answer.results.iter().map(|result| result.message.starts_with("lead: ")).collect();
    assert_eq!(named, [false, false, true, false, false], "{:?}", answer.results);
    assert!(answer.results[3].message.starts_with("send_key: "), "{:?}", answer.results[3]);
    assert_eq!(trail(&service, "spring", "l3").await[0].detail, "a\u{fffd}\u{fffd}(\u{fffd}b");

    let streamed = vec![bounced("l5", "BROKEN"), bounced("l6", "whole")];
    let request = broken(&pb::StreamOutcomesRequest { parent, outcomes: streamed });
    let path = PathAndQuery::from_static("/campaign_metrics.v1.SendingService/StreamOutcomes");
    let codec = RawCodec::<pb::StreamOutcomesResponse>(std::marker::PhantomData);
    let requests = Request::new(futures::stream::iter([request]));
    let mut answers = raw_client(&service).await.streaming(requests, path, codec).await.expect("a stream").into_inner();
    assert_eq!(told(&answers.message().await.expect("an answer").expect("one").results), [APPLIED, APPLIED]);
}

#[tokio::test]
async fn what_is_no_message_is_the_mistake_of_the_client_and_names_the_field() {
    let service = Service::start().await;
    let claims = pb::ClaimSendsRequest { account: "BROKEN".into(), max_claims: 3, ..Default::default() };
    let refused = |body| async {
        let method = "/campaign_metrics.v1.SendingService/ClaimSends";
        call::<pb::ClaimSendsResponse>(&service, method, body).await.expect_err("it is refused")
    };
    let status = refused(broken(&claims)).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("ClaimSendsRequest.account") && status.message().contains("UTF-8"), "{status}");
    let status = refused(vec![0x0a, 0x7f, 0x01]).await;
    assert_eq!(status.code(), Code::InvalidArgument, "a length past the end: {status}");
    let batch = pb::ReportOutcomesRequest { parent: "BROKEN".into(), outcomes: vec![pb::Outcome::default()] };
    let method = "/campaign_metrics.v1.SendingService/ReportOutcomes";
    let status = call::<pb::ReportOutcomesResponse>(&service, method, broken(&batch)).await.expect_err("no workspace");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("ReportOutcomesRequest.parent"), "{status}");
}

#[tokio::test]
async fn a_time_that_was_never_set_is_the_time_of_receipt() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(2, &["ann"])).await;
    add_leads(&service, "spring", 5, Some("ann"), false).await;
    let times =
        ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1999-12-31T23:59:59.999999999Z", "2000-01-01T00:00:00Z"];
    let mut outcomes: Vec<pb::Outcome> = times
        .iter()
        .enumerate()
        .map(|(place, at)| pb::Outcome {
            time: Some(stamp(time(at))),
            ..by_lead("spring", &format!("l{place}"), 1, OutcomeKind::Delivered)
        })
        .collect();
    // Before the year 1, and with impossible nanoseconds: also never set.
    let unset = prost_types::Timestamp { seconds: -62_135_596_801, nanos: -1 };
    outcomes.push(pb::Outcome { time: Some(unset), ..by_lead("spring", "l4", 1, OutcomeKind::Delivered) });
    report_new(&service, outcomes).await;
    let (now, early) = (stamp(monday()), stamp(time("2000-01-01T00:00:00Z")));
    for (id, expected) in [("l0", now), ("l1", now), ("l2", now), ("l3", early), ("l4", now)] {
        let lead = lead(&service, "spring", id).await;
        assert_eq!(lead.last_action_time, Some(expected), "{id}");
        assert_eq!(trail(&service, "spring", id).await[0].time, Some(expected), "{id}");
        let due = prost_types::Timestamp { seconds: expected.seconds + 3600, ..expected };
        assert_eq!(lead.due_time, Some(due), "the follow-up of {id}");
    }
    assert_eq!(claim(&service, "ann", 9).await.claims.len(), 1, "the follow-ups of the others wait for their delay");
}
