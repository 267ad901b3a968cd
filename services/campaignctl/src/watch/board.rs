//! What the view knows: the campaigns, their pace, and the connection. Pure, and of bounded memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use campaign_metrics::pb::{self, watch_campaigns_response::Change};

use super::pace::Pace;

/// Most campaigns that are kept: a person does not look at more, and they take some 20 MB.
const CAMPAIGNS_MAX: usize = 10_000;

/// A campaign on the board.
#[derive(Debug, Clone)]
pub struct Row {
    /// The campaign, without its long lists.
    pub campaign: pb::Campaign,
    /// How fast it goes.
    pub pace: Pace,
}

impl Row {
    /// Leads that are sent or failed, and leads that are pending or partial.
    pub fn done_and_open(&self) -> (i64, i64) {
        let leads = self.campaign.lead_counts.unwrap_or_default();
        (leads.sent + leads.failed, leads.pending + leads.partial)
    }
}

/// The state of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Nothing was received yet.
    Connecting,
    /// The campaigns are those of the service.
    Live,
    /// The campaigns are old. The next attempt comes at a time.
    Lost {
        /// The problem in one line.
        why: String,
        /// When the connection was lost.
        since: Instant,
        /// When the next attempt comes.
        until: Instant,
    },
}

/// The board.
#[derive(Debug)]
pub struct Board {
    rows: BTreeMap<String, Row>,
    /// Names seen since the stream was opened, until all were.
    seen: Option<BTreeSet<String>>,
    /// Whether there are more campaigns than are kept.
    pub is_full: bool,
    /// The connection.
    pub connection: Connection,
}

impl Board {
    /// Creates an empty board.
    pub fn new() -> Self {
        Self { rows: BTreeMap::new(), seen: None, is_full: false, connection: Connection::Connecting }
    }

    /// Begins to receive all campaigns, after the stream was opened.
    pub fn connected(&mut self) {
        self.seen = Some(BTreeSet::new());
        self.is_full = false;
    }

    /// Takes note that the connection is lost.
    pub fn lost(&mut self, why: String, now: Instant, wait: Duration) {
        let since = match self.connection {
            Connection::Lost { since, .. } => since,
            _ => now,
        };
        self.connection = Connection::Lost { why, since, until: now + wait };
    }

    /// Applies a message of the stream. Returns the names of the campaigns that changed or are gone.
    pub fn apply(&mut self, change: Change, now: Instant) -> Vec<String> {
        match change {
            Change::Campaign(campaign) => {
                let name = campaign.name.clone();
                if self.rows.len() >= CAMPAIGNS_MAX && !self.rows.contains_key(&name) {
                    self.is_full = true;
                    return Vec::new();
                }
                if let Some(seen) = &mut self.seen {
                    seen.insert(name.clone());
                }
                let campaign = pb::Campaign { accounts: Vec::new(), active_hours: None, ..campaign };
                let pace = self.rows.remove(&name).map(|row| row.pace).unwrap_or_default();
                let mut row = Row { campaign, pace };
                row.pace.note(now, row.done_and_open().0);
                self.rows.insert(name.clone(), row);
                vec![name]
            }
            Change::Deleted(name) => self.rows.remove(&name).map(|_| name).into_iter().collect(),
            Change::Synced(()) => {
                self.connection = Connection::Live;
                let Some(seen) = self.seen.take() else { return Vec::new() };
                let gone: Vec<String> = self.rows.keys().filter(|name| !seen.contains(*name)).cloned().collect();
                for name in &gone {
                    self.rows.remove(name);
                }
                gone
            }
        }
    }

    /// Measures the pace of every campaign, also of those that do not change.
    pub fn tick(&mut self, now: Instant) {
        for row in self.rows.values_mut() {
            let (done, _) = row.done_and_open();
            row.pace.note(now, done);
        }
    }

    /// Returns a campaign by its resource name.
    pub fn get(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    /// Returns the campaigns in the order in which they are shown: active, paused, finished, and by name.
    pub fn ordered(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by_key(|row| row.campaign.state);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(name: &str, state: pb::CampaignState, sent: i64) -> Change {
        Change::Campaign(pb::Campaign {
            name: format!("workspaces/acme/campaigns/{name}"),
            state: state.into(),
            accounts: vec!["workspaces/acme/accounts/ann".into()],
            lead_counts: Some(pb::LeadCounts { sent, failed: 2, pending: 5, partial: 1, total: sent + 8 }),
            ..pb::Campaign::default()
        })
    }

    fn names(board: &Board) -> Vec<&str> {
        board.ordered().iter().map(|row| crate::view::id(&row.campaign.name)).collect()
    }

    #[test]
    fn active_campaigns_come_first() {
        use pb::CampaignState::{Active, Finished, Paused};
        let (mut board, now) = (Board::new(), Instant::now());
        board.connected();
        for (name, state) in [("a", Finished), ("b", Active), ("c", Paused), ("d", Active)] {
            assert_eq!(board.apply(campaign(name, state, 3), now), [format!("workspaces/acme/campaigns/{name}")]);
        }
        assert_eq!(names(&board), ["b", "d", "c", "a"]);
        assert_eq!(board.connection, Connection::Connecting);
        assert_eq!(board.apply(Change::Synced(()), now), [""; 0]);
        assert_eq!(board.connection, Connection::Live);
        assert_eq!(board.ordered()[0].done_and_open(), (5, 6));
        assert!(board.ordered()[0].campaign.accounts.is_empty(), "long lists are not kept");
    }

    #[test]
    fn what_was_deleted_while_the_connection_was_lost_is_gone_after_it_is_back() {
        use pb::CampaignState::Active;
        let (mut board, now) = (Board::new(), Instant::now());
        board.connected();
        for name in ["a", "b", "c"] {
            board.apply(campaign(name, Active, 1), now);
        }
        board.apply(Change::Synced(()), now);
        assert_eq!(board.apply(Change::Deleted("workspaces/acme/campaigns/c".into()), now).len(), 1);
        board.lost("away".into(), now, Duration::from_secs(1));
        board.lost("still away".into(), now + Duration::from_secs(5), Duration::from_secs(2));
        let until = now + Duration::from_secs(7);
        assert_eq!(board.connection, Connection::Lost { why: "still away".into(), since: now, until });
        board.connected();
        board.apply(campaign("b", Active, 9), now);
        assert_eq!(names(&board), ["a", "b"], "what was known stays until all was sent");
        assert_eq!(board.apply(Change::Synced(()), now), ["workspaces/acme/campaigns/a"]);
        assert_eq!(names(&board), ["b"]);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut board, now) = (Board::new(), Instant::now());
        for number in 0..=CAMPAIGNS_MAX {
            board.apply(campaign(&format!("c{number}"), pb::CampaignState::Active, 1), now);
        }
        assert!(board.is_full && board.rows.len() == CAMPAIGNS_MAX);
        assert_eq!(board.apply(campaign("c7", pb::CampaignState::Paused, 1), now).len(), 1, "those kept still change");
    }
}
