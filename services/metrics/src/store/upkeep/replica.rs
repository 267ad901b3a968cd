//! The row by which a running replica says that it runs. A migration with which it can't work is refused meanwhile.

use uuid::Uuid;

use crate::{
    error::Result,
    store::{
        migrate::SCHEMA_VERSION,
        transaction::{Kind, Store, in_txn},
    },
};

impl Store {
    /// Says that a replica runs, unless it can't work with the schema. Returns the oldest schema version that can. Also
    /// deletes the rows of dead replicas.
    pub async fn replica_renew(&self, replica: Uuid) -> Result<i32> {
        let renew = "INSERT INTO replicas (replica_id, schema_version, renewed_at)
            SELECT $1, $2, clock_timestamp() WHERE schema_oldest() <= $2
            ON CONFLICT (replica_id) DO UPDATE SET renewed_at = excluded.renewed_at";
        in_txn!(self, "replica_renew", Kind::Write, |txn, attempt| {
            txn.execute("DELETE FROM replicas WHERE NOT replica_runs(renewed_at)", &[]).await?;
            txn.execute(renew, &[&replica, &SCHEMA_VERSION]).await?;
            Ok(txn.query_one("SELECT schema_oldest()", &[]).await?.get(0))
        })
    }

    /// Says that a replica has ended.
    pub async fn replica_end(&self, replica: Uuid) -> Result<()> {
        in_txn!(self, "replica_end", Kind::Write, |txn, attempt| {
            txn.execute("DELETE FROM replicas WHERE replica_id = $1", &[&replica]).await?;
            Ok(())
        })
    }
}
