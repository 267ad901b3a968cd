//! Every call and every piece of upkeep that writes.

use campaign_metrics::pb::{self, OutcomeKind, Resolution};
use campaign_metrics_service::store::Recounted;
use futures::{FutureExt as _, future::BoxFuture, stream};
use jiff::Timestamp;

use super::world::{MONTHS, SETTLED, World};
use crate::{
    ways::Way,
    world::{
        WORKSPACE, account_name, assign, by_key, by_lead, campaign_name, create_account, create_campaign, finish,
        pause, report_new, resume, settings,
    },
};

/// A write.
#[derive(Clone, Copy)]
pub struct Write {
    /// The call of the contract, or the method of the store that upkeep calls.
    pub call: &'static str,
    pub case: &'static str,
    /// Tables whose locked rows it skips: they are left free.
    pub skips: &'static [&'static str],
    prepare: Step,
    run: Step,
}

type Step = for<'a> fn(&'a World) -> BoxFuture<'a, ()>;

impl Write {
    pub fn prepare<'a>(&self, world: &'a World) -> BoxFuture<'a, ()> {
        (self.prepare)(world)
    }

    pub fn run<'a>(&self, world: &'a World) -> BoxFuture<'a, ()> {
        (self.run)(world)
    }
}

const fn write(call: &'static str, case: &'static str, prepare: Step, run: Step) -> Write {
    Write { call, case, skips: &[], prepare, run }
}

const fn skipping(skips: &'static [&'static str], write: Write) -> Write {
    Write { skips, ..write }
}

/// Prepares nothing.
const NOTHING: Step = |_| async {}.boxed();

pub const CAMPAIGNS: &[Write] = &[
    write("CreateCampaign", "with accounts", NOTHING, |world| {
        async { drop(create_campaign(&world.service, "winter", settings(1, &["bob", "ann"])).await) }.boxed()
    }),
    write("UpdateCampaign", "an account leaves", NOTHING, |world| {
        async { drop(assign(&world.service, "spring", &["bob"]).await) }.boxed()
    }),
    write(
        "UpdateCampaign",
        "the list is complete, and the campaign finishes",
        |world| world.replied(&[]).boxed(),
        |world| world.update(pb::Campaign { lead_list_complete: true, ..Default::default() }).boxed(),
    ),
    write("ApplyCampaign", "takes a campaign over", NOTHING, |world| world.apply("spring", &["ann", "bob"]).boxed()),
    write("ApplyCampaign", "creates a campaign", NOTHING, |world| world.apply("winter", &["ann"]).boxed()),
    write(
        "OrphanCampaign",
        "",
        |world| world.apply("spring", &["ann", "bob", "eve"]).boxed(),
        |world| {
            async {
                let request = pb::OrphanCampaignRequest {
                    name: campaign_name("spring"),
                    owner_uid: "uid".into(),
                    ..Default::default()
                };
                world.service.campaigns.clone().orphan_campaign(request).await.expect("it is orphaned");
            }
            .boxed()
        },
    ),
    write("PauseCampaign", "", NOTHING, |world| async { drop(pause(&world.service, "spring").await) }.boxed()),
    write(
        "ResumeCampaign",
        "",
        |world| async { drop(pause(&world.service, "spring").await) }.boxed(),
        |world| async { drop(resume(&world.service, "spring").await) }.boxed(),
    ),
    write("FinishCampaign", "", NOTHING, |world| async { drop(finish(&world.service, "spring").await) }.boxed()),
    write("DeleteCampaign", "with claims", NOTHING, |world| world.delete_campaign().boxed()),
];

pub const ACCOUNTS: &[Write] = &[
    write("CreateAccount", "", NOTHING, |world| {
        async { drop(create_account(&world.service, "joe", None).await) }.boxed()
    }),
    write("UpdateAccount", "", NOTHING, |world| {
        async {
            let account = pb::Account { name: account_name("ann"), daily_limit: Some(7), ..Default::default() };
            let request = pb::UpdateAccountRequest { account: Some(account), update_mask: None };
            world.service.accounts.clone().update_account(request).await.expect("it is changed");
        }
        .boxed()
    }),
    write("SuspendAccount", "", NOTHING, |world| world.suspend().boxed()),
    write(
        "ReinstateAccount",
        "",
        |world| world.suspend().boxed(),
        |world| {
            async {
                let request = pb::ReinstateAccountRequest { name: account_name("ann"), ..Default::default() };
                world.service.accounts.clone().reinstate_account(request).await.expect("it is reinstated");
            }
            .boxed()
        },
    ),
    write(
        "DeleteAccount",
        "that served and has figures",
        |world| world.eve_leaves(&["bob"]).boxed(),
        |world| {
            async {
                let request = pb::DeleteAccountRequest { name: account_name("eve"), ..Default::default() };
                world.service.accounts.clone().delete_account(request).await.expect("it is deleted");
            }
            .boxed()
        },
    ),
];

pub const LEADS: &[Write] = &[
    write("AddLeads", "to a range that grows", NOTHING, |world| {
        world.add(&[("n1", "ann"), ("l0", ""), ("n2", "bob")], false).boxed()
    }),
    write("AddLeads", "with an id that opted out", NOTHING, |world| world.add(&[("gone", "")], false).boxed()),
    write(
        "AddLeads",
        "declares the list complete",
        |world| world.replied(&[]).boxed(),
        |world| world.add(&[], true).boxed(),
    ),
    write("DeleteLead", "without facts, claimed", NOTHING, |world| world.delete_lead("l3").boxed()),
    write("DeleteLead", "with facts", NOTHING, |world| world.delete_lead("l0").boxed()),
    write(
        "DeleteLead",
        "the last one that was open",
        |world| world.replied(&["l3"]).boxed(),
        |world| world.delete_lead("l3").boxed(),
    ),
    write("ReassignLeads", "", |world| world.eve_leaves(&[]).boxed(), |world| world.reassign().boxed()),
];

pub const SENDING: &[Write] = &[
    write("ClaimSends", "in full", NOTHING, |world| world.claim(Way::Full, 2).boxed()),
    write(
        "ClaimSends",
        "in full, and expired claims are due again",
        |world| world.retrying().boxed(),
        |world| world.claim(Way::Full, 50).boxed(),
    ),
    write(
        "ClaimSends",
        "granted optimistically",
        |world| async { Way::Optimistic.warm(&world.service, "ann").await }.boxed(),
        |world| world.claim(Way::Optimistic, 2).boxed(),
    ),
    write("RenewClaims", "of two campaigns", NOTHING, |world| {
        async {
            let claim_ids = world.claims.iter().rev().map(|claim| claim.claim_id.clone()).collect();
            let hold_duration = Some(prost_types::Duration { seconds: 900, nanos: 0 });
            let request = pb::RenewClaimsRequest { account: account_name("ann"), claim_ids, hold_duration };
            world.service.sending.clone().renew_claims(request).await.expect("they are renewed");
        }
        .boxed()
    }),
    write("ReleaseClaims", "of two campaigns", NOTHING, |world| {
        async {
            let claims: Vec<_> = world.claims.iter().rev().cloned().collect();
            crate::ways::release(&world.service, "ann", &claims).await;
        }
        .boxed()
    }),
    write(
        "ResolveClaims",
        "sent",
        |world| async { world.expire() }.boxed(),
        |world| world.resolve(&[Resolution::Sent; 4]).boxed(),
    ),
    write(
        "ResolveClaims",
        "not sent",
        |world| async { world.expire() }.boxed(),
        |world| world.resolve(&[Resolution::NotSent; 4]).boxed(),
    ),
    write(
        "ResolveClaims",
        "some sent, some not",
        |world| async { world.expire() }.boxed(),
        |world| {
            use Resolution::{NotSent, Sent};
            world.resolve(&[Sent, NotSent, NotSent, Sent]).boxed()
        },
    ),
    write("ReportOutcomes", "with claims, of two campaigns", NOTHING, |world| {
        let outcomes = world.claims.iter().rev().map(|claim| by_key(claim, OutcomeKind::Delivered)).collect();
        report_new(&world.service, outcomes).boxed()
    }),
    write("ReportOutcomes", "without claims, of two campaigns", NOTHING, |world| {
        let outcomes = ["spring", "autumn"].map(|campaign| by_lead(campaign, "l5", 1, OutcomeKind::Delivered));
        report_new(&world.service, outcomes.into()).boxed()
    }),
    write("ReportOutcomes", "a bounce after a delivery, and several facts of a lead", NOTHING, |world| {
        let facts = [OutcomeKind::Bounced, OutcomeKind::Replied, OutcomeKind::Converted];
        let outcomes = facts.map(|kind| by_lead("spring", "l0", i32::from(kind == OutcomeKind::Bounced), kind));
        report_new(&world.service, outcomes.into()).boxed()
    }),
    write("ReportOutcomes", "an opt-out, with the lead of the same id", NOTHING, |world| {
        report_new(&world.service, vec![by_lead("spring", "l5", 0, OutcomeKind::OptedOut)]).boxed()
    }),
    write(
        "ReportOutcomes",
        "the last one, which finishes the campaign",
        |world| world.open_leads_are(&["l3"]).boxed(),
        |world| report_new(&world.service, vec![by_lead("spring", "l3", 0, OutcomeKind::Replied)]).boxed(),
    ),
    write(
        "ReportOutcomes",
        "the last one, a message without a claim",
        |world| world.open_leads_are(&["l5"]).boxed(),
        |world| report_new(&world.service, vec![by_lead("spring", "l5", 1, OutcomeKind::Failed)]).boxed(),
    ),
    write("StreamOutcomes", "", NOTHING, |world| {
        async {
            let outcomes = vec![by_key(&world.claims[0], OutcomeKind::Delivered)];
            let request = pb::StreamOutcomesRequest { parent: WORKSPACE.into(), outcomes };
            let mut sending = world.service.sending.clone();
            let mut answers = sending.stream_outcomes(stream::iter([request])).await.expect("a stream").into_inner();
            assert!(answers.message().await.expect("an answer").is_some(), "it is acknowledged");
        }
        .boxed()
    }),
    write("AddOptOuts", "of leads of two campaigns", NOTHING, |world| world.opt_out(&["l5", "l2", "new"]).boxed()),
    write(
        "AddOptOuts",
        "of the last lead, which finishes the campaign",
        |world| world.open_leads_are(&["l5"]).boxed(),
        |world| world.opt_out(&["l5"]).boxed(),
    ),
    write("DeleteOptOut", "", NOTHING, |world| {
        async {
            let request = pb::DeleteOptOutRequest { name: format!("{WORKSPACE}/optOuts/gone") };
            world.service.opt_outs.clone().delete_opt_out(request).await.expect("it was listed");
        }
        .boxed()
    }),
];

pub const UPKEEP: &[Write] = &[
    write(
        "campaigns_finalize",
        "",
        |world| {
            async {
                for campaign in ["spring", "autumn"] {
                    finish(&world.service, campaign).await;
                }
                world.expire();
                world.service.clock.advance(SETTLED);
            }
            .boxed()
        },
        |world| async { assert_eq!(world.store().campaigns_finalize().await.expect("done"), 2) }.boxed(),
    ),
    write(
        "claims_retry",
        "",
        |world| world.retrying().boxed(),
        |world| async { world.store().claims_retry().await.expect("done") }.boxed(),
    ),
    skipping(
        &["claims"],
        write(
            "claims_compact",
            "",
            |world| async { world.expire() }.boxed(),
            |world| async { world.store().claims_compact(Timestamp::UNIX_EPOCH).await.expect("done") }.boxed(),
        ),
    ),
    skipping(
        &["campaigns", "leads"],
        write(
            "returns_tidy",
            "",
            |world| {
                async {
                    world.eve_leaves(&[]).await;
                    report_new(&world.service, vec![by_lead("spring", "e0", 0, OutcomeKind::Replied)]).await;
                }
                .boxed()
            },
            |world| async { world.store().returns_tidy().await.expect("done") }.boxed(),
        ),
    ),
    skipping(
        &["deleted_campaigns"],
        write(
            "campaigns_drain",
            "",
            |world| world.delete_campaign().boxed(),
            |world| async { world.store().campaigns_drain().await.expect("done") }.boxed(),
        ),
    ),
    write(
        "opt_outs_tell",
        "",
        |world| {
            async {
                let waits = "INSERT INTO opt_outs SELECT workspace_id, 'l5', now() FROM workspaces;
                INSERT INTO opt_outs_waiting SELECT workspace_id, 'l5' FROM workspaces";
                world.sql(waits).await;
            }
            .boxed()
        },
        |world| async { world.store().opt_outs_tell().await.expect("done") }.boxed(),
    ),
    skipping(
        &["history"],
        write(
            "account_days_sum",
            "",
            |world| world.sum_days().boxed(),
            |world| async { world.store().account_days_sum().await.expect("done") }.boxed(),
        ),
    ),
    write(
        "maintain",
        "",
        |world| {
            async {
                world.claim_with_id().await;
                world.service.clock.advance(MONTHS);
            }
            .boxed()
        },
        |world| async { world.store().maintain().await.expect("done") }.boxed(),
    ),
    // Row locks on a partition keep it from being dropped.
    skipping(
        &["outcomes"],
        write(
            "partitions_drop",
            "",
            |world| {
                async {
                    world.delete_campaign().await;
                    world.store().campaigns_drain().await.expect("done");
                    world.service.clock.advance(MONTHS);
                }
                .boxed()
            },
            |world| async { world.store().partitions_drop(1).await.expect("done") }.boxed(),
        ),
    ),
    write(
        "verify",
        "repairs a campaign, which finishes",
        |world| {
            async {
                world.replied(&[]).await;
                let wrong = "UPDATE campaign_counters SET sent = sent - 1, pending = pending + 1;
                UPDATE campaigns SET lead_list_complete = true";
                world.sql(wrong).await;
            }
            .boxed()
        },
        |world| world.verify(|what| matches!(what, Recounted::Campaign(..))).boxed(),
    ),
    write(
        "verify",
        "repairs the history",
        |world| async { world.sql("UPDATE history SET delivered = delivered + 1").await }.boxed(),
        |world| world.verify(|what| matches!(what, Recounted::History(..))).boxed(),
    ),
];
