//! Pages: default and maximum size, continuation, tokens that are bound to their query, and filtered lists to their
//! end.

use campaign_metrics::pb::{self, ClaimState, LeadStatus, OutcomeKind};
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    harness::service::Service,
    world::{
        WORKSPACE, account_name, add_leads, assert_refused, by_lead, campaign_name, claim, create_account,
        create_campaign, lead_name, report_new, settings,
    },
};

async fn leads(service: &Service, request: pb::ListLeadsRequest) -> Result<(Vec<String>, String), Status> {
    let page = service.leads.clone().list_leads(request).await?.into_inner();
    let id = |lead: pb::Lead| lead.name.rsplit('/').next().unwrap_or_default().to_owned();
    Ok((page.leads.into_iter().map(id).collect(), page.next_page_token))
}

fn of(campaign: &str) -> pb::ListLeadsRequest {
    pb::ListLeadsRequest { parent: campaign_name(campaign), ..Default::default() }
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("l{number}")).collect()
}

#[tokio::test]
async fn a_page_holds_a_hundred_unless_asked_otherwise_and_a_thousand_at_most() {
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", 1101, None, false).await;
    let (first, token) = leads(&service, of("spring")).await.unwrap();
    assert_eq!(first, ids(0..100), "a hundred by default");
    // The size may change from page to page.
    let rest = pb::ListLeadsRequest { page_token: token, page_size: 2_000_000_000, ..of("spring") };
    let (second, token) = leads(&service, rest.clone()).await.unwrap();
    assert_eq!(second, ids(100..1100), "a thousand at most");
    let (third, token) = leads(&service, pb::ListLeadsRequest { page_token: token, ..rest }).await.unwrap();
    assert_eq!((third, token.as_str()), (ids(1100..1101), ""), "and the last one");

    assert_eq!(claim(&service, "ann", 150).await.claims.len(), 150);
    let list = async |page_token: String| {
        let request = pb::ListClaimsRequest { account: account_name("ann"), page_token, ..Default::default() };
        service.sending.clone().list_claims(request).await.unwrap().into_inner()
    };
    let first = list(String::new()).await;
    let second = list(first.next_page_token).await;
    assert_eq!((first.claims.len(), second.claims.len(), second.next_page_token.as_str()), (100, 50, ""));
    let both = first.claims.iter().chain(&second.claims).map(|claim| claim.lead.clone());
    assert_eq!(both.collect::<Vec<_>>(), ids(0..150).iter().map(|id| lead_name("spring", id)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_token_of_another_query_is_refused_by_every_list() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    for campaign in ["autumn", "spring"] {
        create_campaign(&service, campaign, settings(1, &["ann", "bob"])).await;
        add_leads(&service, campaign, 3, Some("ann"), false).await;
    }
    claim(&service, "ann", 3).await;
    report_new(&service, ["l0", "l1"].map(|id| by_lead("spring", id, 0, OutcomeKind::AutoReplied)).to_vec()).await;
    report_new(&service, ["l0", "l1"].map(|id| by_lead("spring", id, 0, OutcomeKind::OptedOut)).to_vec()).await;
    let refused =
        |answer: Result<(), Status>| assert_refused(answer, Code::InvalidArgument, "INVALID_FIELD", "page_token");

    let small = |request: pb::ListLeadsRequest| pb::ListLeadsRequest { page_size: 1, ..request };
    let (_, token) = leads(&service, small(of("spring"))).await.unwrap();
    assert!(!token.is_empty());
    let page_token = token.clone();
    for other in [
        of("autumn"),
        pb::ListLeadsRequest { status: LeadStatus::Pending.into(), ..of("spring") },
        pb::ListLeadsRequest { account: account_name("ann"), ..of("spring") },
    ] {
        refused(leads(&service, pb::ListLeadsRequest { page_token: page_token.clone(), ..other }).await.map(drop));
    }
    let claims = async |account: &str, state: ClaimState, page_token: String| {
        let request =
            pb::ListClaimsRequest { account: account_name(account), state: state.into(), page_size: 1, page_token };
        Ok::<_, Status>(service.sending.clone().list_claims(request).await?.into_inner().next_page_token)
    };
    let token = claims("ann", ClaimState::Held, String::new()).await.unwrap();
    assert!(!token.is_empty());
    refused(claims("ann", ClaimState::Uncertain, token.clone()).await.map(drop));
    refused(claims("bob", ClaimState::Held, token.clone()).await.map(drop));
    refused(claims("ann", ClaimState::Held, page_token.clone()).await.map(drop));

    let accounts = async |parent: &str, page_token: String| {
        let request = pb::ListAccountsRequest { parent: parent.into(), page_size: 1, page_token };
        Ok::<_, Status>(service.accounts.clone().list_accounts(request).await?.into_inner().next_page_token)
    };
    let token = accounts(WORKSPACE, String::new()).await.unwrap();
    assert!(!token.is_empty());
    refused(accounts("workspaces/zeta", token).await.map(drop));
    let opt_outs = async |parent: &str, page_token: String| {
        let request = pb::ListOptOutsRequest { parent: parent.into(), page_size: 1, page_token };
        Ok::<_, Status>(service.opt_outs.clone().list_opt_outs(request).await?.into_inner().next_page_token)
    };
    let token = opt_outs(WORKSPACE, String::new()).await.unwrap();
    assert!(!token.is_empty());
    refused(opt_outs("workspaces/zeta", token).await.map(drop));
    let trail = async |lead: &str, page_token: String| {
        let request = pb::ListLeadOutcomesRequest { parent: lead_name("spring", lead), page_size: 1, page_token };
        Ok::<_, Status>(service.leads.clone().list_lead_outcomes(request).await?.into_inner().next_page_token)
    };
    let token = trail("l0", String::new()).await.unwrap();
    assert!(!token.is_empty());
    refused(trail("l1", token).await.map(drop));
}

#[tokio::test]
async fn a_list_whose_last_page_is_full_ends_with_it() {
    let service = Service::start().await;
    for account in ["ann", "bob"] {
        create_account(&service, account, None).await;
    }
    for campaign in ["autumn", "spring"] {
        create_campaign(&service, campaign, settings(1, &["ann"])).await;
    }
    add_leads(&service, "spring", 2, Some("ann"), false).await;
    claim(&service, "ann", 2).await;
    let opt_outs = ["l0", "l1"].map(|id| by_lead("spring", id, 0, OutcomeKind::OptedOut));
    report_new(&service, [opt_outs.to_vec(), vec![by_lead("spring", "l0", 0, OutcomeKind::AutoReplied)]].concat())
        .await;
    let (account, parent) = (account_name("ann"), WORKSPACE.to_owned());
    for (page_size, is_last) in [(1, false), (2, true)] {
        let request = pb::ListCampaignsRequest { parent: parent.clone(), page_size, ..Default::default() };
        let campaigns = service.campaigns.clone().list_campaigns(request).await.unwrap().into_inner();
        let request = pb::ListAccountsRequest { parent: parent.clone(), page_size, ..Default::default() };
        let accounts = service.accounts.clone().list_accounts(request).await.unwrap().into_inner();
        let request = pb::ListOptOutsRequest { parent: parent.clone(), page_size, ..Default::default() };
        let opt_outs = service.opt_outs.clone().list_opt_outs(request).await.unwrap().into_inner();
        let request = pb::ListClaimsRequest { account: account.clone(), page_size, ..Default::default() };
        let claims = service.sending.clone().list_claims(request).await.unwrap().into_inner();
        let request = pb::ListLeadsRequest { page_size, ..of("spring") };
        let leads = service.leads.clone().list_leads(request).await.unwrap().into_inner();
        let parent = lead_name("spring", "l0");
        let request = pb::ListLeadOutcomesRequest { parent, page_size, ..Default::default() };
        let trail = service.leads.clone().list_lead_outcomes(request).await.unwrap().into_inner();
        for (list, length, token) in [
            ("campaigns", campaigns.campaigns.len(), campaigns.next_page_token),
            ("accounts", accounts.accounts.len(), accounts.next_page_token),
            ("opt-outs", opt_outs.opt_outs.len(), opt_outs.next_page_token),
            ("claims", claims.claims.len(), claims.next_page_token),
            ("leads", leads.leads.len(), leads.next_page_token),
            ("outcomes of a lead", trail.outcomes.len(), trail.next_page_token),
        ] {
            assert_eq!(
                (length, token.is_empty()),
                (usize::try_from(page_size).unwrap(), is_last),
                "{list}, {page_size} of 2"
            );
        }
    }
}

#[tokio::test]
async fn a_filtered_list_skips_any_number_of_others_and_reaches_its_end() {
    // More than one page examines, whether or not it finds something.
    const LEADS: usize = 50_007;
    let service = Service::start().await;
    create_account(&service, "ann", None).await;
    create_campaign(&service, "spring", settings(1, &["ann"])).await;
    add_leads(&service, "spring", LEADS, None, false).await;
    let last = LEADS - 1;
    let failed = [7, 50_001, last];
    let outcomes = failed.map(|number| by_lead("spring", &format!("l{number}"), 1, OutcomeKind::Failed));
    report_new(&service, outcomes.to_vec()).await;
    for page_size in [1, 2, 3, 100] {
        let (mut found, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let request =
                pb::ListLeadsRequest { status: LeadStatus::Failed.into(), page_size, page_token, ..of("spring") };
            let (page, next) = leads(&service, request).await.unwrap();
            assert!(i32::try_from(page.len()).unwrap() <= page_size);
            found.extend(page);
            pages += 1;
            page_token = next;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, failed.map(|number| format!("l{number}")), "pages of {page_size}, after {pages} of them");
    }
}

#[tokio::test]
async fn pages_of_many_long_names_stay_below_what_clients_take_and_hold_every_item_once() {
    const CLIENTS_TAKE: usize = 4 << 20;
    let service = Service::start().await;
    let accounts: Vec<String> = (0..150).map(|number| format!("{number:03}.{}", "a".repeat(124))).collect();
    for account in &accounts {
        create_account(&service, account, None).await;
    }
    let all: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let mut campaigns = Vec::new();
    for number in 0..200 {
        let id = format!("c{number:03}-{}", "c".repeat(58));
        // The last one is served by all accounts but the first.
        let of = &all[usize::from(number == 199)..];
        campaigns.push(create_campaign(&service, &id, settings(1, of)).await.name);
    }
    let list = async |account: &str| {
        let account = account.to_owned();
        let parent = WORKSPACE.to_owned();
        let mut request = pb::ListCampaignsRequest { parent, account, page_size: 1000, ..Default::default() };
        let (mut names, mut bytes) = (Vec::new(), Vec::new());
        loop {
            // A client of this service has the default of 4 MiB.
            let page = service.campaigns.clone().list_campaigns(request.clone()).await.unwrap().into_inner();
            bytes.push(page.encoded_len());
            names.extend(page.campaigns.into_iter().map(|campaign| campaign.name));
            if page.next_page_token.is_empty() {
                return (names, bytes);
            }
            request.page_token = page.next_page_token;
        }
    };
    let (names, bytes) = list("").await;
    assert_eq!(names, campaigns);
    assert!(bytes.len() > 1 && bytes.iter().sum::<usize>() > CLIENTS_TAKE, "more than fits: {bytes:?}");
    assert!(bytes.iter().all(|bytes| *bytes < CLIENTS_TAKE), "{bytes:?}");

    let request = pb::ListAccountsRequest { parent: WORKSPACE.into(), page_size: 1000, ..Default::default() };
    let page = service.accounts.clone().list_accounts(request).await.unwrap().into_inner();
    let served: Vec<_> = page.accounts.iter().map(|account| account.campaign_count).collect();
    assert_eq!((served[0], &served[1..], page.next_page_token.as_str()), (199, &[200; 149][..], ""));
    assert_eq!(list(&account_name(&accounts[0])).await.0, campaigns[..199]);
    assert_eq!(list(&account_name(&accounts[1])).await.0, campaigns);
    assert_eq!(list(&account_name("nobody")).await.0, Vec::<String>::new());
    let account = "workspaces/zeta/accounts/ann".to_owned();
    let request = pb::ListCampaignsRequest { parent: WORKSPACE.into(), account, ..Default::default() };
    let answer = service.campaigns.clone().list_campaigns(request).await.map(drop);
    assert_refused(answer, Code::InvalidArgument, "INVALID_FIELD", "account");
}
