//! Request ids. The same id with the same body is the same request; with another body it is a mistake of the caller.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use uuid::Uuid;

use crate::error::{Error, Result};

/// The id of a request, with a digest of what it asks for.
#[derive(Debug, Clone)]
pub struct RequestId {
    /// Chosen by the caller.
    pub id: Uuid,
    /// SHA-256 of method and body.
    pub digest: Vec<u8>,
}

/// Whether a request is a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestStatus {
    /// It is the first with its id.
    New,
    /// It repeats an earlier one, which was given this grant.
    Repeated(Option<i64>),
}

/// Records a request, and returns whether it is a repeat; without an id it is new. Waits for a concurrent request with the
/// same id.
pub(super) async fn request_record_in_txn(
    txn: &Transaction<'_>,
    workspace_id: i32,
    request: Option<&RequestId>,
    grant_no: Option<i64>,
    now: Timestamp,
) -> Result<RequestStatus> {
    let Some(request) = request else { return Ok(RequestStatus::New) };
    let insert = "INSERT INTO requests (workspace_id, request_id, digest, grant_no, created_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let insert = txn.prepare_cached(insert).await?;
    if txn.execute(&insert, &[&workspace_id, &request.id, &request.digest, &grant_no, &now]).await? == 1 {
        return Ok(RequestStatus::New);
    }
    let select = "SELECT digest, grant_no FROM requests WHERE workspace_id = $1 AND request_id = $2";
    let select = txn.prepare_cached(select).await?;
    let row = txn.query_one(&select, &[&workspace_id, &request.id]).await?;
    if row.get::<_, Vec<u8>>(0) != request.digest {
        return Err(Error::AlreadyExists {
            reason: "REQUEST_ID_REUSED",
            message: format!("request_id {} was used with another body; draw a new one for a new request", request.id),
        });
    }
    Ok(RequestStatus::Repeated(row.get(1)))
}
