//! Business gauges: the state of campaigns and accounts, read from rollups at each scrape.
//!
//! Nothing is kept between scrapes, so the series of a deleted campaign disappear, and all replicas export the same.
//! When the database is unreachable, the series are left out and `campaign_metrics_collector_success` is 0. Only the
//! details (by account, and at equal age) are read less often than at each scrape: see `store/fleet/details.rs`.
//!
//! This module writes the text of the Prometheus exposition format itself. The client library creates an object for
//! each of about 400 000 series, which takes longer than a whole scrape may take. The text is streamed metric by
//! metric, so that the first metrics are sent while others are written.

mod account;
mod campaign;
mod detail;
mod label;
mod snapshot;
mod text;

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::task::{JoinError, spawn_blocking};

pub use self::snapshot::Collected;
use self::{
    snapshot::Snapshot,
    text::{Text, seconds},
};

/// Parts that may be written ahead while earlier ones are sent.
const AHEAD: usize = 2;

/// Renders the gauges of one scrape.
pub fn render(collected: Collected) -> impl Stream<Item = Result<Vec<u8>, JoinError>> + use<> {
    let has_fleet = collected.fleet.is_some();
    let of_fleet = campaign::METRICS.into_iter().chain(detail::METRICS).chain(account::METRICS);
    let metrics = [collector as fn(&mut Text, &Snapshot)].into_iter().chain(of_fleet.filter(move |_| has_fleet));
    let snapshot = Arc::new(Snapshot::new(collected));
    // Rendering tens of megabytes would block a thread that serves calls.
    let parts = metrics.map(move |metric| {
        let snapshot = snapshot.clone();
        spawn_blocking(move || {
            let mut text = Text::default();
            metric(&mut text, &snapshot);
            stream::iter(text.into_pieces()).map(Ok)
        })
    });
    stream::iter(parts).buffered(AHEAD).try_flatten()
}

fn collector(text: &mut Text, snapshot: &Snapshot) {
    text.metric("collector_success", "Whether the state of campaigns could be read: 1 or 0.");
    text.value(u8::from(snapshot.fleet().is_some()));
    text.metric(
        "collector_duration_seconds",
        "How long reading the state of campaigns took in this scrape, in seconds.",
    );
    text.value(snapshot.duration().as_secs_f64());
    let Some(fleet) = snapshot.fleet() else { return };
    let help = "Campaigns left out of the other series, because there are more than --metrics-max-campaigns.";
    text.metric("campaigns_omitted", help);
    text.value(fleet.omitted);
    let help = "Accounts left out of the other series, because there are more than --metrics-max-accounts.";
    text.metric("accounts_omitted", help);
    text.value(fleet.accounts_omitted);
    if let Some(verification) = fleet.verification {
        let help = "Numbers that the latest run of `verify` found to differ from the facts, and did not repair.";
        text.metric("verify_differences", help);
        text.value(verification.differences);
        text.metric(
            "verify_timestamp_seconds",
            "When `verify` last ran, in seconds since 1970; absent before its first run.",
        );
        text.value(seconds(verification.at));
    }
}
