//! Why a campaign does not send, judged account by account: GetCampaign, the gauges and ClaimSends say the same.

use std::time::Duration;

use campaign_metrics::pb::{self, NotSendingReason as Why, OutcomeKind};

use crate::{
    harness::service::Service,
    world::{
        account_name, add_leads, assign, by_key, by_lead, campaign_name, claim, create_account, create_campaign, get,
        reasons, report_new, settings, try_add,
    },
};

async fn world(steps: i32, daily_limit: i32) -> Service {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, Some(daily_limit)).await;
    }
    create_campaign(&service, "spring", settings(steps, &["ann", "bob"])).await;
    service
}

async fn add(service: &Service, account: &str, ids: &[&str]) {
    let lead = |id: &&str| pb::NewLead { lead_id: (*id).into(), account_id: account.into() };
    try_add(service, "spring", ids.iter().map(lead).collect(), false).await.expect("leads");
}

async fn suspend(service: &Service, account: &str) {
    let request = pb::SuspendAccountRequest { name: account_name(account), etag: String::new() };
    service.accounts.clone().suspend_account(request).await.expect("it is suspended");
}

/// The reasons that GetCampaign gives. The gauges must show the same.
async fn why(service: &Service) -> Vec<Why> {
    let campaign = get(service, "spring").await;
    let page = service.admin("/metrics").await;
    let shown = |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        let line = page
            .lines()
            .find(|line| line.starts_with("campaign_metrics_campaign_not_sending{") && line.contains(&label))
            .unwrap_or_else(|| panic!("a gauge of {reason}"));
        line.ends_with(" 1")
    };
    let given: Vec<Why> = campaign.not_sending_reasons().collect();
    for (reason, label) in [
        (Why::AccountSuspended, "account_suspended"),
        (Why::AccountDailyLimit, "account_daily_limit"),
        (Why::AccountRemoved, "account_removed"),
        (Why::NoLeadDue, "no_lead_due"),
        (Why::UncertainClaims, "uncertain_claims"),
    ] {
        assert_eq!(shown(label), given.contains(&reason), "the gauge of {label} beside {given:?}");
    }
    given
}

#[tokio::test]
async fn leads_that_wait_for_one_account_give_its_reason_whatever_the_others_could_do() {
    let service = world(1, 3).await;
    add(&service, "ann", &["a0", "a1", "a2", "a3", "a4"]).await;
    add(&service, "bob", &["b0", "b1"]).await;
    assert_eq!(claim(&service, "bob", 2).await.claims.len(), 2, "he has none left");
    assert_eq!(why(&service).await, []);
    assert_eq!(claim(&service, "ann", 9).await.claims.len(), 3, "all that her limit allows");
    let campaign = get(&service, "spring").await;
    assert_eq!(why(&service).await, [Why::AccountDailyLimit]);
    let midnight = service.clock.now().as_second() + 14 * 3600;
    let ends = campaign.in_flight_until.unwrap().seconds;
    assert_eq!(campaign.next_change_time.unwrap().seconds, ends.min(midnight));
    suspend(&service, "ann").await;
    assert_eq!(why(&service).await, [Why::AccountDailyLimit, Why::AccountSuspended]);
    assert_eq!(reasons(&claim(&service, "bob", 1).await), [Why::NoLeadDue], "his own reason");
    // Leads without account are his, too.
    add_leads(&service, "spring", 1, None, false).await;
    assert_eq!(why(&service).await, []);
    service.clock.advance(Duration::from_hours(14));
    assert_eq!(claim(&service, "bob", 9).await.claims.len(), 1);
    assert_eq!(why(&service).await, [Why::AccountSuspended], "on a new day her limit is no reason any more");
}

#[tokio::test]
async fn a_due_step_behind_an_uncertain_claim_of_another_is_no_step_that_is_due() {
    let service = world(3, 30).await;
    add(&service, "ann", &["x", "y"]).await;
    let claims = claim(&service, "ann", 1).await.claims;
    let blocked = claims[0].lead.rsplit('/').next().unwrap().to_owned();
    report_new(&service, vec![by_lead("spring", &blocked, 2, OutcomeKind::Delivered)]).await;
    service.clock.advance(Duration::from_hours(2));
    assert_eq!(why(&service).await, [], "the other lead can be claimed");
    let granted = claim(&service, "ann", 5).await;
    assert_eq!(granted.claims.len(), 1);
    assert_eq!(reasons(&granted), [Why::NoLeadDue, Why::UncertainClaims], "fewer than asked for, with the reasons");
    assert_eq!(why(&service).await, [Why::NoLeadDue, Why::UncertainClaims]);
    assert_eq!(reasons(&claim(&service, "ann", 5).await), [Why::NoLeadDue, Why::UncertainClaims]);
    report_new(&service, vec![by_key(&claims[0], OutcomeKind::Delivered)]).await;
    assert_eq!(why(&service).await, [], "its third step is due");
    assert_eq!(claim(&service, "ann", 5).await.claims[0].step, 3);
}

#[tokio::test]
async fn a_lead_whose_last_step_is_delivered_does_not_wait_for_an_account_that_left() {
    let service = world(3, 30).await;
    add(&service, "ann", &["x", "y"]).await;
    let claims = claim(&service, "ann", 2).await.claims;
    report_new(&service, claims.iter().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect()).await;
    assign(&service, "spring", &["bob"]).await;
    assert_eq!(why(&service).await, [Why::AccountRemoved, Why::NoLeadDue]);
    report_new(&service, vec![by_lead("spring", "x", 3, OutcomeKind::Delivered)]).await;
    assert_eq!(why(&service).await, [Why::AccountRemoved, Why::NoLeadDue], "one waits");
    report_new(&service, vec![by_lead("spring", "y", 3, OutcomeKind::Delivered)]).await;
    assert_eq!(why(&service).await, [Why::NoLeadDue], "their second steps were skipped");
    assert_eq!(reasons(&claim(&service, "bob", 1).await), [Why::NoLeadDue]);
    let request = pb::ReassignLeadsRequest {
        parent: campaign_name("spring"),
        from_account: account_name("ann"),
        to_accounts: vec![account_name("bob")],
    };
    let moved = service.leads.clone().reassign_leads(request).await.expect("an answer").into_inner();
    assert_eq!(moved.reassigned_count, 0, "nothing is left to move");
}
