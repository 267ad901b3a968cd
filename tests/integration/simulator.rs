//! Every number of the simulator's summary equals what the service shows, after a complete run and after an interrupted
//! one.

use std::collections::BTreeMap;

use campaign_metrics::pb::{self, CampaignState};
use serde_json::Value;

use crate::{
    fleet::{WORKSPACES, Workspace},
    harness::{
        gauges::Page,
        parts::binary,
        run::{Output, run},
        service::Service,
    },
};

/// Runs the simulator in a workspace, with arguments split at blanks.
async fn simulate(workspace: &Workspace<'_>, arguments: &str) -> Output {
    let mut command = tokio::process::Command::new(binary("campaign-simulator").expect("it is built"));
    let id = workspace.name.trim_start_matches("workspaces/");
    command.args(["--server", &workspace.service.url, "--workspace", id]).args(arguments.split(' '));
    let output = run(command, "").await.expect("it runs");
    assert!(output.status.success(), "it ends well: {}", output.stderr);
    output
}

async fn campaigns(workspace: &Workspace<'_>) -> Vec<pb::Campaign> {
    let request = pb::ListCampaignsRequest { parent: workspace.name.clone(), ..Default::default() };
    workspace.service.campaigns.clone().list_campaigns(request).await.expect("campaigns").into_inner().campaigns
}

/// Sums a count over campaigns.
fn sum(campaigns: &[pb::Campaign], count: impl Fn(&pb::MessageCounts) -> i64) -> i64 {
    campaigns.iter().map(|campaign| count(campaign.message_counts.as_ref().expect("counts"))).sum()
}

async fn page(service: &Service) -> Page {
    Page::parse(&service.admin("/metrics").await).expect("a page of metrics")
}

/// Two campaigns, of one and of two steps, with separate leads, served by two accounts.
async fn prepare(workspace: &Workspace<'_>, leads: usize) {
    for account in ["ann", "bob"] {
        workspace.create_account(account, None, "", "").await;
    }
    let at_once = Some(prost_types::Duration::default());
    for (id, steps, leads) in [("spring", 1, leads), ("summer", 2, leads + 20)] {
        let campaign = pb::Campaign { steps, follow_up_delay: at_once, ..Default::default() };
        workspace.create_campaign(id, &["ann", "bob"], campaign).await;
        workspace.add(id, 0, leads, "", true).await;
    }
}

/// Bad leads, and senders that report twice and out of order, so that no number is 0.
const PLAY: &str = "--rate 3000 --senders 2 --poll-seconds 0.1 --seed 7 --delivered-ratio 0.7 --bounced-ratio 0.2 \
                    --reply-ratio 0.2 --auto-reply-ratio 0.15 --conversion-ratio 0.1 --opt-out-ratio 0.05 \
                    --duplicate-ratio 0.3 --shuffle";

#[tokio::test]
async fn a_run_to_the_end_sums_up_to_what_the_service_shows() {
    let service = Service::start().await;
    let [acme, globex] = WORKSPACES.map(|id| Workspace { service: &service, name: format!("workspaces/{id}") });
    prepare(&acme, 150).await;
    prepare(&globex, 90).await;
    let before = campaigns(&globex).await;
    let output = simulate(&acme, &format!("-o json {PLAY}")).await;
    let told: Value = serde_json::from_str(&output.stdout).expect("one summary");
    assert_eq!(campaigns(&globex).await, before, "the other workspace is left alone");

    let after = campaigns(&acme).await;
    assert!(after.iter().all(|campaign| campaign.state() == CampaignState::Finished), "{after:?}");
    let page = page(&service).await;
    let verdict = |verdict| page.count("outcomes_total", &[("verdict", verdict)]);
    let of_kind = |kind: &str| told["appliedByKind"][kind].as_i64().unwrap_or(0);
    let results = sum(&after, |counts| counts.delivered + counts.failed + counts.bounced);
    let number = |name: &str| told[name].as_i64().unwrap_or_else(|| panic!("{name} is a number: {told:#}"));
    for (what, told, shown) in [
        ("messages", number("messages"), results),
        ("claims", number("claims"), results + number("released")),
        ("applied", number("applied"), verdict("applied")),
        ("duplicates", number("duplicates"), verdict("duplicate")),
        ("rejected", number("rejected"), verdict("rejected")),
        ("DELIVERED", of_kind("DELIVERED"), sum(&after, |counts| counts.delivered)),
        ("FAILED", of_kind("FAILED"), sum(&after, |counts| counts.failed)),
        ("BOUNCED", of_kind("BOUNCED"), sum(&after, |counts| counts.bounced)),
        ("REPLIED", of_kind("REPLIED"), sum(&after, |counts| counts.replied_leads)),
        ("CONVERTED", of_kind("CONVERTED"), sum(&after, |counts| counts.converted_leads)),
        ("AUTO_REPLIED", of_kind("AUTO_REPLIED"), sum(&after, |counts| counts.auto_replied_leads)),
        ("OPTED_OUT", of_kind("OPTED_OUT"), sum(&after, |counts| counts.opted_out_leads)),
    ] {
        assert_eq!(told, shown, "{what} as the summary says, and as the service shows: {:#}", output.stdout);
        assert!(told > 0 || what == "rejected", "{what} says something");
    }
    assert_eq!((told["stopped"].as_str(), number("notHeld")), (Some("ALL_FINISHED"), 0));
    let mut lost = BTreeMap::<String, i64>::new();
    for failures in after.iter().flat_map(|campaign| &campaign.message_counts.as_ref().expect("counts").failures) {
        let reason = failures.reason().as_str_name().trim_start_matches("FAILURE_REASON_").to_owned();
        *lost.entry(reason).or_default() += failures.count;
    }
    assert!(lost.len() > 2, "messages are lost for several reasons: {lost:?}");
    assert_eq!(told["lostByReason"], serde_json::json!(lost), "as the service shows it");
    let handled = |method: &str| {
        let method = format!("campaign_metrics.v1.SendingService/{method}");
        page.count("rpc_handled_total", &[("method", &method), ("code", "Ok")])
    };
    let calls = |name: &str| told[name]["calls"].as_i64().expect("a number");
    assert_eq!(calls("reportLatency"), handled("ReportOutcomes"), "each report was timed");
    let granting = calls("claimLatency");
    assert!(granting > 0 && granting <= handled("ClaimSends"), "{granting} calls that granted something");
    for name in ["claimLatency", "reportLatency"] {
        let [half, most] = ["p50Ms", "p99Ms"].map(|name_of| told[name][name_of].as_f64().expect("a number"));
        assert!(0.0 < half && half <= most, "{name}: {half} ms, {most} ms");
    }

    let text = simulate(&globex, PLAY).await.stdout;
    let after = campaigns(&globex).await;
    let messages = sum(&after, |counts| counts.delivered + counts.failed + counts.bounced);
    let delivered = sum(&after, |counts| counts.delivered);
    let auto_replied = sum(&after, |counts| counts.auto_replied_leads);
    for line in [
        "every campaign is finished after ".to_owned(),
        format!("\n  claims    {messages} granted, 0 released unsent, 0 no longer held\n"),
        format!("\n  messages  {messages}\n"),
        format!("\n            {delivered} delivered\n"),
        format!("\n            {auto_replied} auto-replied\n"),
    ] {
        assert!(text.contains(&line), "`{line}` is in:\n{text}");
    }
}

#[tokio::test]
async fn a_run_that_is_cut_short_says_so_and_leaves_no_claim_held() {
    let service = Service::start().await;
    let acme = Workspace { service: &service, name: "workspaces/acme".into() };
    prepare(&acme, 300).await;
    let play = "-o json --rate 40 --max-claims 1000 --delivered-ratio 1 --bounced-ratio 0 --duration-seconds 1";
    let told: Value = serde_json::from_str(&simulate(&acme, play).await.stdout).expect("one summary");
    let number = |name: &str| told[name].as_i64().unwrap_or_else(|| panic!("{name} is a number: {told:#}"));
    assert_eq!(told["stopped"], "TIME_UP");
    let after = campaigns(&acme).await;
    let delivered = sum(&after, |counts| counts.delivered);
    assert!(delivered > 0 && after.iter().all(|campaign| campaign.state() == CampaignState::Active), "{told:#}");
    assert_eq!((number("messages"), told["appliedByKind"]["DELIVERED"].as_i64()), (delivered, Some(delivered)));
    assert_eq!(number("claims"), delivered + number("released"), "every claim was sent or released");
    let open: i64 = after.iter().map(|campaign| campaign.in_flight_claims + campaign.uncertain_claims).sum();
    assert_eq!(open, 0, "no claim is left");
    let seconds = told["elapsedSeconds"].as_f64().expect("a number");
    assert!((1.0..30.0).contains(&seconds), "it took {seconds} s");
}
