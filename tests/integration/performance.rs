//! PerformanceService over real gRPC: history, accounts of a campaign, totals and comparisons.

use campaign_metrics::pb::{self, FailureReason as Reason, OutcomeKind as Kind};
use tonic::{Code, Status};

use crate::{
    harness::service::{Service, monday},
    world::{
        WORKSPACE, account_name, assert_refused, by_lead, campaign_name, create_account, create_campaign, pause,
        report_new, settings, try_add,
    },
};

#[path = "performance/refusals.rs"]
mod refusals;

/// What a lead of `spring` did: lead, kind, reason, time.
type Story = (&'static str, Kind, Reason, &'static str);

/// Outcomes of leads of ann (`a`), of bob (`b`) and of one without an account.
const STORIES: [Story; 17] = {
    const NONE: Reason = Reason::Unspecified;
    [
        ("a0", Kind::Delivered, NONE, "2026-02-20T08:00:00Z"),
        ("a1", Kind::Delivered, NONE, "2026-02-20T08:00:00Z"),
        ("a2", Kind::Delivered, NONE, "2026-02-20T08:00:00Z"),
        ("a3", Kind::Delivered, NONE, "2026-02-20T00:00:00Z"),
        ("a4", Kind::Delivered, NONE, "2026-02-20T23:59:59.999999Z"),
        ("a5", Kind::Failed, Reason::RateLimited, "2026-02-20T09:00:00Z"),
        // A delivery that bounced is a bounce of the later day, and no contact.
        ("a6", Kind::Delivered, NONE, "2026-02-20T09:00:00Z"),
        ("a6", Kind::Bounced, Reason::InvalidLead, "2026-02-21T09:00:00Z"),
        ("b0", Kind::Delivered, NONE, "2026-02-21T08:00:00Z"),
        ("b1", Kind::Delivered, NONE, "2026-02-21T08:00:00Z"),
        ("b2", Kind::Delivered, NONE, "2026-02-21T08:00:00Z"),
        ("b3", Kind::Failed, Reason::AccountIssue, "2026-02-22T08:00:00Z"),
        ("u0", Kind::Delivered, NONE, "2026-02-22T08:00:00Z"),
        ("a0", Kind::Replied, NONE, "2026-02-20T20:00:00Z"),
        ("a1", Kind::Replied, NONE, "2026-02-20T08:00:00Z"),
        ("a2", Kind::Converted, NONE, "2026-02-25T09:00:00Z"),
        ("b0", Kind::Replied, NONE, "2026-02-28T08:00:00Z"),
    ]
};

/// Starts a service with a campaign in which all of that happened.
async fn spring() -> Service {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, Some(60)).await;
    }
    for campaign in ["spring", "summer"] {
        create_campaign(&service, campaign, settings(1, &["ann", "bob"])).await;
    }
    let lead = |id: String, account: &str| pb::NewLead { lead_id: id, account_id: account.into() };
    let of = |letter: char, count: i32, account: &'static str| {
        (0..count).map(move |number| lead(format!("{letter}{number}"), account))
    };
    let leads = of('a', 10, "ann").chain(of('b', 6, "bob")).chain(of('u', 1, ""));
    try_add(&service, "spring", leads.collect(), false).await.unwrap();
    for (id, kind, reason, time) in STORIES {
        let time: jiff::Timestamp = time.parse().unwrap();
        let time = prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
        let step = i32::from(matches!(kind, Kind::Delivered | Kind::Failed | Kind::Bounced));
        let outcome = by_lead("spring", id, step, kind);
        report_new(&service, vec![pb::Outcome { reason: reason.into(), time: Some(time), ..outcome }]).await;
    }
    service
}

fn history_of(campaign: &str) -> pb::QueryCampaignHistoryRequest {
    pb::QueryCampaignHistoryRequest { name: campaign_name(campaign), ..Default::default() }
}

async fn history(
    service: &Service,
    request: pb::QueryCampaignHistoryRequest,
) -> Result<pb::QueryCampaignHistoryResponse, Status> {
    Ok(service.performance.clone().query_campaign_history(request).await?.into_inner())
}

/// A day in one line: day, account, results by reason, contacts, and the ages of replies and conversions.
fn line(of: &pb::HistoryDay) -> String {
    let counts = of.counts.as_ref().expect("counts");
    let reasons =
        |of: &[pb::ReasonCount]| of.iter().map(|of| format!("{:?} {}", of.reason(), of.count)).collect::<Vec<_>>();
    let ages = |of: &[i64]| {
        of.iter()
            .enumerate()
            .filter(|(_, count)| **count != 0)
            .map(|(age, count)| format!("{count} at {age}"))
            .collect::<Vec<_>>()
    };
    let account = of.account.rsplit('/').next().unwrap_or_default();
    format!(
        "{} {account}: {} delivered, {:?} failed, {:?} bounced, {} contacted, {:?} replied, {:?} converted",
        of.day,
        counts.delivered,
        reasons(&counts.failed),
        reasons(&counts.bounced),
        counts.contacted_leads,
        ages(&counts.replied_leads_by_age),
        ages(&counts.converted_leads_by_age),
    )
}

fn lines(days: &[pb::HistoryDay]) -> Vec<String> {
    days.iter().map(line).collect()
}

const BY_ACCOUNT: [&str; 5] = [
    "2026-02-20 ann: 5 delivered, [\"RateLimited 1\"] failed, [] bounced, 5 contacted, [\"1 at 0\", \"1 at 1\"] replied, [\"1 at 6\"] converted",
    "2026-02-21 ann: 0 delivered, [] failed, [\"InvalidLead 1\"] bounced, 0 contacted, [] replied, [] converted",
    "2026-02-21 bob: 3 delivered, [] failed, [] bounced, 3 contacted, [\"1 at 7\"] replied, [] converted",
    "2026-02-22 : 1 delivered, [] failed, [] bounced, 1 contacted, [] replied, [] converted",
    "2026-02-22 bob: 0 delivered, [\"AccountIssue 1\"] failed, [] bounced, 0 contacted, [] replied, [] converted",
];

#[tokio::test]
async fn a_history_tells_each_day_by_account_or_summed_page_by_page() {
    let service = spring().await;
    let sums = history(&service, history_of("spring")).await.unwrap();
    let expected = [
        "2026-02-20 : 5 delivered, [\"RateLimited 1\"] failed, [] bounced, 5 contacted, [\"1 at 0\", \"1 at 1\"] replied, [\"1 at 6\"] converted",
        "2026-02-21 : 3 delivered, [] failed, [\"InvalidLead 1\"] bounced, 3 contacted, [\"1 at 7\"] replied, [] converted",
        "2026-02-22 : 1 delivered, [\"AccountIssue 1\"] failed, [] bounced, 1 contacted, [] replied, [] converted",
    ];
    assert_eq!(lines(&sums.days), expected);
    assert_eq!((sums.as_of_time.unwrap().seconds, sums.corrections), (monday().as_second(), None));
    assert_eq!(sums.next_page_token, "");
    assert_eq!(sums.days[0].counts.as_ref().unwrap().replied_leads_by_age.len(), 31);

    let by_account = pb::QueryCampaignHistoryRequest { by_account: true, ..history_of("spring") };
    let all = lines(&history(&service, by_account.clone()).await.unwrap().days);
    let mut by_day = all.clone();
    by_day.sort();
    assert_eq!(by_day, BY_ACCOUNT);
    for page_size in 1..=5 {
        let (mut found, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let request = pb::QueryCampaignHistoryRequest { page_size, page_token, ..by_account.clone() };
            let page = history(&service, request).await.unwrap();
            assert!(page.days.len() <= usize::try_from(page_size).unwrap());
            found.extend(lines(&page.days));
            (page_token, pages) = (page.next_page_token, pages + 1);
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((&found, pages), (&all, (5 + page_size - 1) / page_size));
    }

    let days = async |first_day: &str, last_day: &str| {
        let (first_day, last_day) = (first_day.to_owned(), last_day.to_owned());
        let request = pb::QueryCampaignHistoryRequest { first_day, last_day, ..history_of("spring") };
        history(&service, request).await.unwrap().days.into_iter().map(|day| day.day).collect::<Vec<_>>()
    };
    assert_eq!(days("2026-02-21", "2026-02-21").await, ["2026-02-21"], "both ends belong to it");
    assert_eq!(days("2026-02-22", "").await, ["2026-02-22"], "to today");
    assert_eq!(days("", "2026-02-21").await, ["2026-02-20", "2026-02-21"], "from 29 days before");
    assert_eq!(days("2026-02-23", "2027-01-01").await, [""; 0]);
    assert_eq!(history(&service, history_of("summer")).await.unwrap().days, [], "nothing happened in it");
}

#[tokio::test]
async fn a_page_after_midnight_ends_with_the_day_of_the_first_page() {
    let service = spring().await;
    let first_day = "2025-01-27".to_owned();
    let request = pb::QueryCampaignHistoryRequest { first_day, page_size: 1, by_account: true, ..history_of("spring") };
    let first = history(&service, request.clone()).await.unwrap();
    service.clock.advance(std::time::Duration::from_hours(24));
    assert_refused(history(&service, request.clone()).await, Code::InvalidArgument, "INVALID_FIELD", "are 401 days");
    let second = pb::QueryCampaignHistoryRequest { page_token: first.next_page_token, ..request };
    assert_eq!(history(&service, second).await.unwrap().days.len(), 1);
}

#[tokio::test]
async fn the_history_of_an_account_has_its_messages_of_all_campaigns() {
    let service = spring().await;
    let ann = async |first_day: &str| {
        let request = pb::QueryAccountHistoryRequest {
            name: account_name("ann"),
            first_day: first_day.to_owned(),
            ..Default::default()
        };
        service.performance.clone().query_account_history(request).await.unwrap().into_inner()
    };
    let history = ann("").await;
    assert_eq!(lines(&history.days), BY_ACCOUNT[..2]);
    assert!(history.days.iter().all(|day| day.account == account_name("ann")));
    assert_eq!((history.as_of_time.unwrap().seconds, history.corrections), (monday().as_second(), None));
    assert_eq!(lines(&ann("2026-02-21").await.days), BY_ACCOUNT[1..2]);
}

#[tokio::test]
async fn accounts_of_a_campaign_have_their_leads_messages_and_rates() {
    let service = spring().await;
    let page = async |page_size: i32, page_token: String| {
        let request = pb::ListCampaignAccountsRequest { parent: campaign_name("spring"), page_size, page_token };
        service.performance.clone().list_campaign_accounts(request).await.unwrap().into_inner()
    };
    let all = page(0, String::new()).await;
    assert_eq!((all.as_of_time.unwrap().seconds, all.next_page_token.as_str()), (monday().as_second(), ""));
    let told = |of: &pb::CampaignAccount| {
        let counts = of.lead_counts.unwrap();
        let rate = |rate: Option<pb::Rate>| rate.map(|rate| (rate.numerator, rate.denominator)).unwrap();
        (
            of.account.clone(),
            [counts.sent, counts.failed, counts.pending, counts.partial, counts.total],
            [rate(of.delivery_rate), rate(of.response_rate), rate(of.conversion_rate)],
        )
    };
    let ann = (account_name("ann"), [5, 2, 3, 0, 10], [(5, 7), (2, 5), (1, 5)]);
    let bob = (account_name("bob"), [3, 1, 2, 0, 6], [(3, 4), (1, 3), (0, 3)]);
    let nobody = (String::new(), [1, 0, 0, 0, 1], [(1, 1), (0, 1), (0, 1)]);
    assert_eq!(all.accounts.iter().map(told).collect::<Vec<_>>(), [ann.clone(), bob.clone()]);
    assert_eq!(all.unassigned.as_ref().map(told), Some(nobody.clone()));
    let of_ann = &all.accounts[0];
    assert_eq!((of_ann.serving, of_ann.suspended, of_ann.daily_limit), (true, false, Some(60)));
    assert_eq!((of_ann.delivery_health(), of_ann.delivery_health_certain), (pb::DeliveryHealth::Low, false));
    assert_eq!(of_ann.reserved_today, 0, "what was sent on other days uses up those");

    let first = page(1, String::new()).await;
    assert_eq!(
        (first.accounts.iter().map(told).collect::<Vec<_>>(), first.unassigned.as_ref().map(told)),
        (vec![ann], Some(nobody))
    );
    let second = page(1, first.next_page_token).await;
    assert_eq!((second.accounts.iter().map(told).collect::<Vec<_>>(), second.unassigned), (vec![bob], None));
    assert_eq!(second.next_page_token, "");

    report_new(&service, vec![pb::Outcome { time: None, ..by_lead("spring", "a9", 1, Kind::Delivered) }]).await;
    let now = page(1, String::new()).await;
    assert_eq!((now.accounts[0].reserved_today, told(&now.accounts[0]).2[0]), (1, (6, 8)));
}

#[tokio::test]
async fn totals_add_up_the_campaigns_of_a_workspace() {
    let service = spring().await;
    let totals = async |workspace: &str| {
        let request = pb::GetWorkspaceTotalsRequest { name: format!("workspaces/{workspace}") };
        service.performance.clone().get_workspace_totals(request).await.unwrap().into_inner()
    };
    pause(&service, "summer").await;
    let of = totals("acme").await;
    assert_eq!((of.name.as_str(), of.as_of_time.unwrap().seconds), (WORKSPACE, monday().as_second()));
    assert_eq!((of.active_campaigns, of.paused_campaigns, of.finished_campaigns), (1, 1, 0));
    assert_eq!((of.active_accounts, of.suspended_accounts), (2, 0));
    let leads = of.lead_counts.unwrap();
    assert_eq!([leads.sent, leads.failed, leads.pending, leads.partial, leads.total], [9, 3, 5, 0, 17]);
    assert_eq!(of.progress_ratio, Some(12.0 / 17.0));
    let messages = of.message_counts.unwrap();
    assert_eq!((messages.delivered, messages.failed, messages.bounced, messages.contacted_leads), (9, 2, 1, 9));
    let rates = [of.delivery_rate, of.response_rate, of.conversion_rate].map(Option::unwrap);
    assert_eq!(rates.map(|rate| (rate.numerator, rate.denominator)), [(9, 12), (3, 9), (1, 9)]);
    let nothing = totals("nobody").await;
    assert_eq!((nothing.lead_counts.unwrap().total, nothing.progress_ratio), (0, None), "no campaign, no share");
}

fn compared(campaigns: &[&str], age_days: i32) -> pb::CompareCampaignsRequest {
    let campaigns = campaigns.iter().map(|id| campaign_name(id)).collect();
    pb::CompareCampaignsRequest { parent: WORKSPACE.into(), campaigns, age_days }
}

#[tokio::test]
async fn a_comparison_has_the_days_of_each_campaign_and_says_what_is_missing() {
    let service = spring().await;
    let compare = async |age_days: i32| {
        service
            .performance
            .clone()
            .compare_campaigns(compared(&["summer", "spring"], age_days))
            .await
            .unwrap()
            .into_inner()
    };
    let of = compare(0).await;
    assert_eq!((of.age_days, of.as_of_time.unwrap().seconds), (7, monday().as_second()));
    let [summer, spring] = &of.campaigns[..] else { panic!("two: {of:?}") };
    assert_eq!(
        (summer.campaign.as_str(), spring.campaign.as_str()),
        ("workspaces/acme/campaigns/summer", "workspaces/acme/campaigns/spring")
    );
    assert_eq!((summer.first_day.as_str(), summer.last_day.as_str()), ("", ""));
    assert_eq!((spring.first_day.as_str(), spring.last_day.as_str()), ("2026-02-20", "2026-02-22"));
    assert_eq!(spring.accounts, [account_name("ann"), account_name("bob")]);
    assert_eq!((spring.steps, spring.lead_counts.unwrap().total), (1, 17));
    let days = |of: &pb::ComparedCampaign| {
        let days =
            |rate: &pb::ComparedRate| rate.days.iter().map(|day| (day.numerator, day.denominator)).collect::<Vec<_>>();
        of.rates.iter().map(days).collect::<Vec<_>>()
    };
    let [delivery, response] = [vec![(5, 6), (3, 4), (1, 2)], vec![(2, 5), (1, 3), (0, 1)]];
    assert_eq!(days(spring), [delivery.clone(), response.clone(), vec![(1, 5), (0, 3), (0, 1)]]);
    // At 14 days no lead is old enough, ten days after the first contact.
    assert_eq!(days(&compare(14).await.campaigns[1]), [delivery.clone(), vec![], vec![]]);
    assert_eq!(
        days(&compare(3).await.campaigns[1]),
        [delivery, vec![(2, 5), (0, 3), (0, 1)], vec![(0, 5), (0, 3), (0, 1)]]
    );
    for (verdict, missing) in
        of.comparisons.iter().zip(["has no message with a result yet", "has contacted no lead yet"])
    {
        assert_eq!(verdict.verdict(), pb::ComparisonVerdict::NoDifferenceShown);
        assert!(verdict.summary.contains(&format!("`summer` {missing}")), "{}", verdict.summary);
        assert_eq!((verdict.front_runner.as_str(), verdict.pairs.len()), ("", 0));
    }
    assert!(of.differences.iter().any(|says| says == "Days: `summer` sent nothing yet."), "{:?}", of.differences);
}
