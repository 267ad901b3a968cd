//! The store's transactions.
//!
//! Each method of the store is one transaction: it reads one snapshot, or it writes and commits. A transaction that fails with
//! a deadlock or a serialization failure is run again, a bounded number of times; the caller does not see that.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, Transaction};
use futures::FutureExt as _;
use rand::Rng as _;
use tokio_postgres::IsolationLevel;
use tracing::Span;

use super::{
    database::Database,
    hint::Hints,
    pool::{Lease, Pools, Share},
    sqlstate::is_retryable,
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    telemetry::StoreCounters,
    trace::TARGET,
};

/// Upper bound of the retries of a transaction.
const RETRIES_MAX: u32 = 8;
/// Settings of all connections. Statements look rows up by key, whatever the size of a table was when the plan was made: a
/// scan of a table that has grown since ruins throughput, and a plan that reorders a batch breaks the lock order. Plans are
/// generic, because planning takes as long as a small batch.
pub const BY_KEY: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off \
    -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off";
/// Settings of transactions that read whole tables.
pub(super) const FREELY_PLANNED: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = on;
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_bitmapscan = on";
/// Upper bound of the time of a statement. A caller's deadline can shorten it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Settings by which Postgres notices that a process of the service is gone, in seconds if it was killed and within a minute
/// if its machine vanished. Otherwise it would hold locks until its statement ends, or for hours.
const NOTICE_DEATH: &str = "-c client_connection_check_interval=2s -c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 \
    -c tcp_keepalives_count=3";

tokio::task_local! {
    /// Deadline of the call that is being served.
    static DEADLINE: Instant;
}

/// Runs a call under a deadline that reaches down to the statement timeout of Postgres.
pub async fn with_deadline<F: Future>(deadline: Instant, call: F) -> F::Output {
    DEADLINE.scope(deadline, call).await
}

/// Access to the database.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
    pub(super) hints: Arc<Hints>,
    pub(super) clock: Clock,
    pub(super) counters: StoreCounters,
}

/// Runs a block in a transaction and commits it. Runs it again after a deadlock or serialization failure.
///
/// `in_txn!(store, "name", kind, |txn, attempt| { ... })`: the block yields a `Result`; `attempt` counts from 0. The name is that
/// of the method; it shows in `pg_stat_activity.application_name`, in the logs of Postgres and in the metrics. A macro, because
/// a closure can't lend the transaction to a future that must be `Send`.
macro_rules! in_txn {
    ($store:expr, $name:literal, $kind:expr, |$txn:ident, $attempt:ident| $body:expr) => {{
        let mut $attempt = 0;
        loop {
            let (span, waiting) = $crate::store::transaction::spans($name, $attempt);
            let mut client = tracing::Instrument::instrument($store.client($kind), waiting).await?;
            let started = std::time::Instant::now();
            let run = async {
                let $txn =
                    $crate::store::transaction::begin(&mut client, concat!("campaign-metrics ", $name), $kind).await?;
                let result: $crate::error::Result<_> = async { $body }.await;
                match result {
                    Ok(value) => {
                        $crate::store::transaction::end($txn, $kind).await?;
                        $crate::changes::committed();
                        $crate::outage::DATABASE.succeeded();
                        Ok(value)
                    }
                    Err(error) => {
                        // Rolled back at once, so that no lock outlives the attempt. A lost connection holds no locks.
                        let _ = $txn.rollback().await;
                        Err(error)
                    }
                }
            };
            let result: $crate::error::Result<_> =
                tracing::Instrument::instrument($crate::changes::gather(run), span).await;
            client.settled();
            $store.counters.transaction_ended($name, started.elapsed());
            match result {
                Err(error) => $store.retry_after(error, $name, $attempt).await?,
                Ok(value) => break Ok::<_, $crate::error::Error>(value),
            }
            $attempt += 1;
        }
    }};
}
pub(super) use in_txn;

/// What a transaction is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Reads that must agree with each other.
    Read,
    /// Writes.
    Write,
    /// Reads of many rows: exports and diagnoses.
    BulkRead,
    /// Writes of many rows: imports.
    BulkWrite,
    /// Claims, and reports apart from the batches.
    Hot,
    /// Batches of outcomes.
    Lane,
    /// Looks up what a sender reports about.
    SenderRead,
    /// What a sender needs while it holds claims.
    Sender,
}

impl Kind {
    fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::BulkRead | Self::SenderRead)
    }

    fn share(self) -> Share {
        match self {
            Self::Read | Self::Write => Share::General,
            Self::BulkRead | Self::BulkWrite => Share::Bulk,
            Self::Hot => Share::Hot,
            Self::Lane => Share::Lanes,
            Self::SenderRead | Self::Sender => Share::Senders,
        }
    }
}

/// The span of an attempt of a transaction, named as in `pg_stat_activity` and the metrics, and that of its wait for a
/// connection.
pub(super) fn spans(name: &'static str, attempt: u32) -> (Span, Span) {
    let span = tracing::debug_span!(
        target: TARGET,
        "transaction",
        otel.name = name,
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = name,
        attempt,
    );
    let waiting = tracing::debug_span!(target: TARGET, parent: &span, "connection");
    (span, waiting)
}

/// Lets a transaction read whole tables, without a statement timeout.
pub(super) async fn whole_tables_in_txn(txn: &Transaction<'_>) -> Result<()> {
    Ok(txn.batch_execute(&format!("SET LOCAL statement_timeout = 0; {FREELY_PLANNED}")).await?)
}

/// Bounds how long the statements that follow wait for a lock. A wait that is too long fails with an error that
/// `sqlstate::is_lock_unavailable`.
pub(super) fn lock_timeout_in_txn(txn: &Transaction<'_>, wait: Duration) -> Result<()> {
    send(txn, &format!("SET LOCAL lock_timeout = {}", wait.as_millis()))
}

/// Sends statements without waiting for the answer, in one round trip with the next one, which fails if these do.
fn send(txn: &Transaction<'_>, statements: &str) -> Result<()> {
    Ok(txn.batch_execute(statements).now_or_never().transpose().map(|_| ())?)
}

pub(super) async fn begin<'a>(client: &'a mut Object, name: &str, kind: Kind) -> Result<Transaction<'a>> {
    let builder = client.build_transaction();
    let txn = if kind.is_read() {
        builder.isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?
    } else {
        builder.isolation_level(IsolationLevel::ReadCommitted).start().await?
    };
    let mut settings = format!("SET LOCAL application_name = '{name}'");
    if let Ok(left) = DEADLINE.try_with(|deadline| deadline.saturating_duration_since(Instant::now()))
        && left < STATEMENT_TIMEOUT
    {
        if left.is_zero() {
            return Err(Error::DeadlineExceeded);
        }
        let _ = write!(settings, "; SET LOCAL statement_timeout = {}", left.as_millis().max(1));
    }
    send(&txn, &settings)?;
    Ok(txn)
}

pub(super) async fn end(txn: Transaction<'_>, kind: Kind) -> Result<()> {
    if kind.is_read() {
        // Sends a rollback without waiting for the answer. A read has nothing to commit.
        drop(txn);
    } else {
        txn.commit().await?;
    }
    Ok(())
}

/// Makes the error after which a transaction is run again.
pub(super) fn snapshot_outdated() -> Error {
    Error::Internal(Box::new(SnapshotOutdated))
}

/// A transaction saw less than it needs, because another one committed after its statement began.
#[derive(Debug, thiserror::Error)]
#[error("a concurrent transaction was not visible yet")]
struct SnapshotOutdated;

impl Store {
    /// Opens `pool_size` connections at most, and one more for the readiness probe. Connects when first used.
    pub fn open(database: &Database, pool_size: usize, clock: Clock, counters: StoreCounters) -> anyhow::Result<Self> {
        let mut config = database.config().clone();
        let options = config.get_options().unwrap_or_default();
        let timeout_ms = STATEMENT_TIMEOUT.as_millis();
        let options = format!("{NOTICE_DEATH} {options} -c statement_timeout={timeout_ms} {BY_KEY}");
        config.options(options);
        Ok(Self { pools: Pools::new(&config, database.tls(), pool_size)?, hints: Arc::default(), clock, counters })
    }

    /// The clock that the store reads.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Checks that the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.pools.ping().await
    }

    /// Counts the connections, the idle ones among them, and the callers that wait for one.
    pub fn pool_status(&self) -> deadpool_postgres::Status {
        self.pools.status()
    }

    /// Waits until the statements of callers that went away are cancelled. To be called when no more calls come.
    pub async fn settled(&self) {
        self.pools.settled().await;
    }

    /// Backs off and returns if a transaction that failed with `error` can be retried. Returns the error otherwise.
    pub(super) async fn retry_after(&self, error: Error, name: &str, attempt: u32) -> Result<()> {
        match error {
            Error::Internal(source) if source.is::<SnapshotOutdated>() || is_retryable(&*source) => {
                if attempt >= RETRIES_MAX {
                    return Err(Error::Contended(source));
                }
            }
            error => return Err(error),
        }
        self.counters.retries.with_label_values(&[name]).inc();
        tracing::debug!(transaction = name, attempt, "running a transaction again");
        let backoff_ms_max = 2_u64 << attempt;
        let backoff_ms = rand::rng().random_range(0..=backoff_ms_max);
        tokio::time::sleep(Duration::from_millis(backoff_ms)).await;
        Ok(())
    }

    pub(super) async fn client(&self, kind: Kind) -> Result<Lease> {
        self.pools.get(kind.share()).await
    }
}
