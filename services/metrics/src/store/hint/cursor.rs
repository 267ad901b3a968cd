//! Where each account goes on looking for due steps, campaign by campaign.
//!
//! What was claimed leaves dead rows before what is next, which nobody can remove while an old snapshot (a backup, a long
//! report) is held; a claim that began at the start would walk over all of them. So each process remembers how far it
//! got. It is a hint only: whoever finds too little looks again from the start, and all do from time to time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::store::row::CampaignKey;

/// How long a cursor is followed: steps that become due behind it, by an outcome dated in the past or at another replica,
/// wait at most so long while others are there to be sent.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Cursors kept at most, of some 64 bytes each; past it all are forgotten.
const CURSORS_MAX: usize = 100_000;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Cursor {
    /// In what came back or follows up.
    pub(in crate::store) due_at: Timestamp,
    /// In the leads that were never claimed.
    pub(in crate::store) lo: i32,
    since: Option<Instant>,
}

impl Cursor {
    /// The start.
    pub(in crate::store) const START: Self = Self { due_at: Timestamp::UNIX_EPOCH, lo: 0, since: None };
}

/// How far an account got in a campaign.
pub(in crate::store) type CursorUpdate = (CampaignKey, i32, Cursor);

/// The cursors of this process.
#[derive(Debug, Default)]
pub(in crate::store) struct Cursors(Mutex<HashMap<(CampaignKey, i32), Cursor>>);

impl Cursors {
    /// The cursor of an account in a campaign.
    pub(in crate::store) fn get(&self, campaign: CampaignKey, account_id: i32) -> Cursor {
        let cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = cursors.get(&(campaign, account_id)).copied().unwrap_or(Cursor::START);
        if cursor.since.is_some_and(|since| since.elapsed() < AGE_MAX) { cursor } else { Cursor::START }
    }

    /// Remembers how far accounts got, once that is committed.
    pub(in crate::store) fn set(&self, cursor_updates: Vec<(CampaignKey, i32, Cursor)>) {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() > CURSORS_MAX {
            cursors.clear();
        }
        for (campaign, account_id, mut cursor) in cursor_updates {
            cursor.since = cursor.since.or_else(|| Some(Instant::now()));
            cursors.insert((campaign, account_id), cursor);
        }
    }
}
