//! Remembers how far each account got in each campaign, so that its next claim looks for due steps from there.
//!
//! Claimed leads leave dead rows before the next due ones. Vacuum can't remove them while an old snapshot (a backup, a long
//! report) is held, and a claim from the beginning would walk over all of them. A cursor is a hint: a claim that finds too
//! little starts again from the beginning, and so does every claim from time to time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::store::row::CampaignKey;

/// How long a cursor is followed. A step can become due before the cursor, by an outcome dated in the past or on another
/// replica. It waits at most this long while other steps can be claimed.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Upper bound of the cursors, of some 64 bytes each. The map is cleared when it is exceeded.
const CURSORS_MAX: usize = 100_000;

/// Where a claim starts to look for due steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Cursor {
    /// In `returns`: at rows that are due at this time or later.
    pub(in crate::store) due_at: Timestamp,
    /// In `segments`: at this lead number.
    pub(in crate::store) lo: i32,
    /// When a claim last started from the beginning. Kept while the cursor advances.
    since: Option<Instant>,
}

impl Cursor {
    /// The beginning.
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

    /// Remembers how far accounts got. To be called after the commit.
    pub(in crate::store) fn set(&self, updates: Vec<CursorUpdate>) {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() > CURSORS_MAX {
            cursors.clear();
        }
        for (campaign, account_id, mut cursor) in updates {
            cursor.since = cursor.since.or_else(|| Some(Instant::now()));
            cursors.insert((campaign, account_id), cursor);
        }
    }
}
