//! The connections of the store, divided by what they are for, so that no kind of work waits behind another kind.
//!
//! | share | serves | most connections, of 16 |
//! |---|---|---|
//! | lanes | batches of outcomes | 2 |
//! | hot | claims, and reports apart from the batches | 6 |
//! | senders | renewing and releasing claims, looking up leads of reports | 2 |
//! | general | everything else; of it, bulk work takes at most half | 6 |
//! | probe | the readiness probe | 1 more |

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime, Status};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};

/// Longest wait for a free connection. Beyond it the service is overloaded, and an error is better than a longer queue.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// Longest time in which an abandoned connection gets idle. After that it is closed.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Uses of a connection after which its plans are discarded. A plan that was made while a table was nearly empty joins by
/// reading all of it, and would stay in use when the table grows. Planning takes some 10 ms, half as long as a batch.
const USES_PER_PLAN: usize = 256;

/// Which connections a transaction may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Those of the two writers of batches.
    Lanes,
    /// Those of claims.
    Hot,
    /// Those of what senders need while they hold claims.
    Senders,
    /// All others.
    General,
    /// Half of the others: imports, exports, diagnoses.
    Bulk,
}

/// The pools.
#[derive(Clone)]
pub(super) struct Pools {
    lanes: Pool,
    hot: Pool,
    senders: Pool,
    general: Pool,
    probe: Pool,
    bulk: Arc<Semaphore>,
    tls: MakeRustlsConnect,
    settling: TaskTracker,
}

impl Pools {
    /// Divides `size` connections. Connects when first used.
    pub(super) fn new(config: &Config, tls: &MakeRustlsConnect, size: usize) -> anyhow::Result<Self> {
        let pool = |size: usize| {
            let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let manager = Manager::from_config(config.clone(), tls.clone(), recycling);
            Pool::builder(manager)
                .max_size(size.max(1))
                // The connection that was used last has warm plans and caches.
                .queue_mode(QueueMode::Lifo)
                .runtime(Runtime::Tokio1)
                .wait_timeout(Some(POOL_WAIT))
                .create_timeout(Some(POOL_WAIT))
                .build()
        };
        let sending = size / 2;
        let others = size - sending;
        let lanes = if sending < 4 { 1 } else { 2 };
        let senders = if others < 6 { 1 } else { 2 };
        let general = others.saturating_sub(senders).max(1);
        Ok(Self {
            lanes: pool(lanes)?,
            hot: pool(sending.saturating_sub(lanes))?,
            senders: pool(senders)?,
            general: pool(general)?,
            probe: pool(1)?,
            bulk: Arc::new(Semaphore::new((general / 2).max(1))),
            tls: tls.clone(),
            settling: TaskTracker::new(),
        })
    }

    /// Takes a connection as soon as its share has a free one.
    pub(super) async fn get(&self, share: Share) -> Result<Lease> {
        let (pool, bulk) = match share {
            Share::Lanes => (&self.lanes, None),
            Share::Hot => (&self.hot, None),
            Share::Senders => (&self.senders, None),
            Share::General => (&self.general, None),
            Share::Bulk => (&self.general, Some(self.bulk_permit().await?)),
        };
        let client = self.lease(pool, bulk).await?;
        if Object::metrics(&client).recycle_count % USES_PER_PLAN == USES_PER_PLAN - 1 {
            client.batch_execute("DISCARD PLANS").await?;
        }
        Ok(client)
    }

    /// Checks that the database answers, on a connection that nothing else uses.
    pub(super) async fn ping(&self) -> Result<()> {
        let mut client = self.lease(&self.probe, None).await?;
        client.batch_execute("SELECT 1").await?;
        client.settled();
        Ok(())
    }

    async fn lease(&self, pool: &Pool, bulk: Option<OwnedSemaphorePermit>) -> Result<Lease> {
        let client = Some(pool.get().await?);
        Ok(Lease { client, is_settled: false, bulk, tls: self.tls.clone(), settling: self.settling.clone() })
    }

    async fn bulk_permit(&self) -> Result<OwnedSemaphorePermit> {
        let permit = timeout(POOL_WAIT, self.bulk.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Exhausted("every database connection for bulk work is in use"))?;
        permit.map_err(|error| Error::Internal(error.into()))
    }

    /// Counts the connections, the idle ones among them, and the callers that wait for one. Without the probe's.
    pub(super) fn status(&self) -> Status {
        let pools = [&self.lanes, &self.hot, &self.senders, &self.general].map(Pool::status);
        let sum = |of: fn(&Status) -> usize| pools.iter().map(of).sum();
        Status {
            max_size: sum(|status| status.max_size),
            size: sum(|status| status.size),
            available: sum(|status| status.available),
            waiting: sum(|status| status.waiting),
        }
    }

    /// Waits for the connections that were abandoned so far.
    pub(super) async fn settled(&self) {
        self.settling.close();
        self.settling.wait().await;
    }
}

/// A connection in use.
///
/// A caller that goes away drops it in the middle of a statement. Then Postgres still works for that caller, and the next
/// user of the connection would wait behind it. So the statement is cancelled, and the connection goes back once it is idle.
pub(super) struct Lease {
    client: Option<Object>,
    is_settled: bool,
    bulk: Option<OwnedSemaphorePermit>,
    tls: MakeRustlsConnect,
    settling: TaskTracker,
}

impl Lease {
    /// Says that the connection executes nothing any more, until it is used again.
    pub(super) fn settled(&mut self) {
        self.is_settled = true;
    }
}

impl std::ops::Deref for Lease {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.client.as_ref().expect("it has a connection until it is dropped")
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Object {
        self.client.as_mut().expect("it has a connection until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if self.is_settled || client.is_closed() {
            return;
        }
        let (bulk, tls) = (self.bulk.take(), self.tls.clone());
        if Handle::try_current().is_ok() {
            self.settling.spawn(async move {
                settle(client, tls).await;
                drop(bulk);
            });
        } else {
            close(client);
        }
    }
}

/// Cancels what a connection executes, and returns it to its pool when it is idle. Closes it if that takes too long.
async fn settle(client: Object, tls: MakeRustlsConnect) {
    let settle = async {
        // It may have ended already, or Postgres may refuse: the statement below waits for it in any case.
        let _ = client.cancel_token().cancel_query(tls).await;
        // The request to cancel may hit the first of these instead. A rollback was sent when the transaction was dropped.
        let first = client.batch_execute("SELECT 1").await;
        first.is_ok() || client.batch_execute("SELECT 1").await.is_ok()
    };
    if !timeout(SETTLE_MAX, settle).await.unwrap_or(false) {
        close(client);
    }
}

/// Closes a connection: it leaves its pool, which makes another one when needed.
fn close(client: Object) {
    drop(Object::take(client));
}
