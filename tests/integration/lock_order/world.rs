//! What the writes find: rows in every table that they lock, of two campaigns.

use std::time::Duration;

use campaign_metrics::pb::{self, OutcomeKind, Resolution};
use campaign_metrics_service::store::{Recounted, Store, VerifyMode};

use crate::{
    harness::service::Service,
    ways::{Way, release, served},
    world::{
        WORKSPACE, account_name, assign, by_key, by_lead, campaign_name, claim, create_account, create_campaign,
        lead_name, report_new, settings, try_add,
    },
};

/// Longer than claims are held.
pub const EXPIRED: Duration = Duration::from_mins(6);
/// Longer than the results of a finished campaign can change.
pub const SETTLED: Duration = Duration::from_secs(91);
/// Longer than the log is kept, and than request ids are.
pub const MONTHS: Duration = Duration::from_hours(70 * 24);

const CAMPAIGNS: [&str; 2] = ["autumn", "spring"];

/// The accounts ann, bob and eve, who serve the campaigns autumn and spring.
///
/// In each campaign ann has l0 (delivered), l1 (released), l2 and l3 (claimed), l4 (delivered without a claim) and l5.
/// Eve has e0 of spring (delivered).
pub struct World {
    pub service: Service,
    /// The claims that ann holds: l2 and l3 of autumn, then those of spring.
    pub claims: Vec<pb::Claim>,
}

impl World {
    pub async fn new() -> Self {
        let service = Service::start().await;
        for account in ["ann", "bob", "eve"] {
            create_account(&service, account, Some(100)).await;
        }
        for campaign in CAMPAIGNS {
            let terms = settings(2, &["ann", "bob", "eve"]);
            let terms = pb::Campaign { daily_limit: Some(100), settle_seconds: Some(90), ..terms };
            create_campaign(&service, campaign, terms).await;
        }
        let mut world = Self { service, claims: Vec::new() };
        for campaign in CAMPAIGNS {
            world.add_to(campaign, &[("l0", "ann"), ("l1", "ann"), ("l2", "ann"), ("l3", "ann")], false).await;
        }
        let mut claims = claim(&world.service, "ann", 8).await.claims;
        claims.sort_by(|one, other| one.lead.cmp(&other.lead));
        assert_eq!(claims.len(), 8, "all that is due");
        world.add_to("spring", &[("e0", "eve")], false).await;
        for campaign in CAMPAIGNS {
            world.add_to(campaign, &[("l4", "ann"), ("l5", "ann")], false).await;
        }
        let of_eve = claim(&world.service, "eve", 1).await.claims;
        release(&world.service, "ann", &[claims[1].clone(), claims[5].clone()]).await;
        let mut outcomes: Vec<_> = [&claims[0], &claims[4], &of_eve[0]].map(delivered).into();
        outcomes.extend(CAMPAIGNS.map(|campaign| by_lead(campaign, "l4", 1, OutcomeKind::Delivered)));
        report_new(&world.service, outcomes).await;
        world.opt_out(&["gone"]).await;
        world.claims = [2, 3, 6, 7].map(|index| claims[index].clone()).into();
        world
    }

    /// A store without the upkeep of a service.
    pub fn store(&self) -> Store {
        self.service.store()
    }

    pub async fn sql(&self, script: &str) {
        self.service.sql().await.batch_execute(script).await.expect("it is executed");
    }

    pub async fn add_to(&self, campaign: &str, leads: &[(&str, &str)], complete: bool) {
        let lead = |(id, account): &(&str, &str)| pb::NewLead { lead_id: (*id).into(), account_id: (*account).into() };
        let added = try_add(&self.service, campaign, leads.iter().map(lead).collect(), complete).await.expect("leads");
        assert_eq!(added.refused, [], "no lead is refused");
    }

    pub async fn add(&self, leads: &[(&str, &str)], complete: bool) {
        self.add_to("spring", leads, complete).await;
    }

    pub async fn update(&self, campaign: pb::Campaign) {
        let campaign = pb::Campaign { name: campaign_name("spring"), ..campaign };
        let request = pb::UpdateCampaignRequest { campaign: Some(campaign), update_mask: None };
        self.service.campaigns.clone().update_campaign(request).await.expect("it is changed");
    }

    pub async fn apply(&self, campaign: &str, accounts: &[&str]) {
        let owner =
            pb::Owner { resource: format!("acme/{campaign}"), uid: "uid".into(), generation: 1, ..Default::default() };
        let request = pb::ApplyCampaignRequest {
            campaign: Some(pb::Campaign { name: campaign_name(campaign), ..settings(2, accounts) }),
            state: pb::CampaignState::Active.into(),
            owner: Some(owner),
            ..Default::default()
        };
        self.service.campaigns.clone().apply_campaign(request).await.expect("it is applied");
    }

    pub async fn delete_campaign(&self) {
        let request = pb::DeleteCampaignRequest { name: campaign_name("spring"), force: true, ..Default::default() };
        self.service.campaigns.clone().delete_campaign(request).await.expect("it is deleted");
    }

    /// Sums the days of accounts so far, and makes one of them wait for the next time.
    pub async fn sum_days(&self) {
        self.service.clock.advance(MONTHS);
        self.store().account_days_sum().await.expect("done");
        self.sql("UPDATE history_of_accounts SET is_summed = false WHERE delivered > 1").await;
    }

    pub async fn suspend(&self) {
        let request = pb::SuspendAccountRequest { name: account_name("ann"), ..Default::default() };
        self.service.accounts.clone().suspend_account(request).await.expect("it is suspended");
    }

    /// Takes eve off the campaigns. Her lead of spring waits for her, or is given to others.
    pub async fn eve_leaves(&self, to: &[&str]) {
        for campaign in CAMPAIGNS {
            assign(&self.service, campaign, &["ann", "bob"]).await;
        }
        if !to.is_empty() {
            self.service.clock.advance(Duration::from_hours(2));
            self.reassign().await;
        }
    }

    pub async fn reassign(&self) {
        let request = pb::ReassignLeadsRequest {
            parent: campaign_name("spring"),
            from_account: account_name("eve"),
            to_accounts: vec![account_name("bob")],
        };
        let reassigned = self.service.leads.clone().reassign_leads(request).await.expect("they are reassigned");
        assert_eq!(reassigned.into_inner().reassigned_count, 1, "e0");
    }

    pub async fn delete_lead(&self, lead: &str) {
        let request = pb::DeleteLeadRequest { name: lead_name("spring", lead), force: true };
        self.service.leads.clone().delete_lead(request).await.expect("it is deleted");
    }

    pub async fn opt_out(&self, ids: &[&str]) {
        let lead_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request = pb::AddOptOutsRequest { parent: WORKSPACE.into(), lead_ids };
        self.service.opt_outs.clone().add_opt_outs(request).await.expect("they are listed");
    }

    /// Reports replies of all leads of spring but some, so that these are the last that are open.
    pub async fn replied(&self, all_but: &[&str]) {
        let leads = ["l0", "l1", "l2", "l3", "l4", "l5", "e0"].into_iter().filter(|lead| !all_but.contains(lead));
        report_new(&self.service, leads.map(|lead| by_lead("spring", lead, 0, OutcomeKind::Replied)).collect()).await;
    }

    /// Completes the list of spring, of which only some leads are open.
    pub async fn open_leads_are(&self, leads: &[&str]) {
        self.update(pb::Campaign { lead_list_complete: true, ..Default::default() }).await;
        self.replied(leads).await;
    }

    /// Has the claims expire.
    pub fn expire(&self) {
        self.service.clock.advance(EXPIRED);
    }

    /// Has the claims of spring expire under the policy that makes them due again.
    pub async fn retrying(&self) {
        let claim_expiry_policy = pb::ClaimExpiryPolicy::Retry.into();
        self.update(pb::Campaign { claim_expiry_policy, ..Default::default() }).await;
        self.expire();
    }

    /// Claims so many steps, served in this way.
    pub async fn claim(&self, way: Way, max: i32) {
        let before = served(&self.service).await;
        let granted = way.claim(&self.service, "ann", max).await;
        assert!(!granted.claims.is_empty(), "something is due");
        let after = served(&self.service).await;
        assert_eq!(
            (after.full - before.full, after.optimistic - before.optimistic),
            match way {
                Way::Full => (1, 0),
                Way::Optimistic => (0, 1),
            }
        );
    }

    /// Leaves a request id.
    pub async fn claim_with_id(&self) {
        let request_id = "0d5f6a0e-2a53-4a5e-8d2e-0c5b8c0f6f11".into();
        let request =
            pb::ClaimSendsRequest { account: account_name("bob"), max_claims: 1, request_id, ..Default::default() };
        self.service.sending.clone().claim_sends(request).await.expect("an answer");
    }

    /// Resolves the claims, last first.
    pub async fn resolve(&self, resolutions: &[Resolution]) {
        let resolve = |(claim, resolution): (&pb::Claim, &Resolution)| pb::ClaimResolution {
            claim_id: claim.claim_id.clone(),
            resolution: (*resolution).into(),
        };
        let resolutions = self.claims.iter().rev().zip(resolutions).map(resolve).collect();
        let request = pb::ResolveClaimsRequest { account: account_name("ann"), resolutions };
        self.service.sending.clone().resolve_claims(request).await.expect("they are resolved");
    }

    /// Repairs what differs.
    pub async fn verify(&self, which: fn(&Recounted) -> bool) {
        let store = self.store();
        let mut found = 0;
        for what in store.verify_list().await.expect("a list").into_iter().filter(which) {
            found += store.verify(&what, VerifyMode::Repair).await.expect("a recount").len();
        }
        assert!(found > 0, "something differed");
    }
}

fn delivered(claim: &pb::Claim) -> pb::Outcome {
    pb::Outcome { detail: "accepted".into(), ..by_key(claim, OutcomeKind::Delivered) }
}
