//! Room for outcomes that wait for the database, shared by workspace and by caller: who uses little is served while who
//! uses much waits.
//!
//! A caller gets room only if what it would then hold and what its workspace would then hold are together not more than
//! what would then be free. So one caller alone holds at most a third of all, and whoever comes next finds free about as
//! much as each of those who are there.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use campaign_metrics::name::WorkspaceId;
use prometheus::IntGauge;
use tokio::sync::oneshot;

/// Most outcomes that may wait for the database: a second of work, and about 30 MB. One caller alone gets a third of it,
/// 32 768.
const ROOM: usize = 98_304;

/// Who reports: a workspace, and the connection of a caller, if it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reporter {
    /// The workspace of the outcomes.
    pub(super) workspace: WorkspaceId,
    /// The address of the other end of the connection.
    pub(super) caller: Option<SocketAddr>,
}

/// The room. Its clones share it.
#[derive(Clone)]
pub(super) struct Room {
    state: Arc<Mutex<State>>,
    gauge: IntGauge,
}

#[derive(Default)]
struct State {
    used: usize,
    workspaces: HashMap<WorkspaceId, usize>,
    callers: HashMap<Reporter, usize>,
    /// Requests that wait for room, in order for each caller.
    waiting: HashMap<Reporter, VecDeque<Request>>,
    /// The callers that have such requests. Who was served goes to the end.
    turns: VecDeque<Reporter>,
}

struct Request {
    outcomes: usize,
    answer: oneshot::Sender<Held>,
}

impl Room {
    pub(super) fn new(gauge: IntGauge) -> Self {
        Self { state: Arc::default(), gauge }
    }

    /// Outcomes that hold room.
    pub(super) fn used(&self) -> usize {
        self.lock().used
    }

    /// Takes room for outcomes, if the reporter's share has it.
    pub(super) fn try_take(&self, reporter: &Reporter, outcomes: usize) -> Option<Held> {
        let fits = self.lock().take(reporter, outcomes);
        fits.then(|| self.held(reporter.clone(), outcomes))
    }

    /// Takes room for outcomes as soon as the reporter's share has it.
    pub(super) async fn take(&self, reporter: &Reporter, outcomes: usize) -> Option<Held> {
        let answer = {
            let mut state = self.lock();
            // Requests of a caller keep their order, so that small ones do not overtake a large one for ever.
            if !state.waiting.contains_key(reporter) && state.take(reporter, outcomes) {
                drop(state);
                return Some(self.held(reporter.clone(), outcomes));
            }
            let (sender, receiver) = oneshot::channel();
            if !state.waiting.contains_key(reporter) {
                state.turns.push_back(reporter.clone());
            }
            state.waiting.entry(reporter.clone()).or_default().push_back(Request { outcomes, answer: sender });
            receiver
        };
        answer.await.ok()
    }

    fn held(&self, reporter: Reporter, outcomes: usize) -> Held {
        let held = Held { room: self.clone(), reporter, outcomes };
        self.gauge.add(i64::try_from(outcomes).unwrap_or(i64::MAX));
        held
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, reporter: &Reporter, outcomes: usize) {
        self.gauge.sub(i64::try_from(outcomes).unwrap_or(i64::MAX));
        let served = {
            let mut state = self.lock();
            state.give_back(reporter, outcomes);
            state.serve()
        };
        for (reporter, request) in served {
            // A caller that has gone drops what it was given, which gives it back; hence not under the lock.
            let _ = request.answer.send(self.held(reporter, request.outcomes));
        }
    }
}

impl State {
    fn take(&mut self, reporter: &Reporter, outcomes: usize) -> bool {
        let of_workspace = self.workspaces.get_mut(&reporter.workspace);
        let of_caller = self.callers.get_mut(reporter);
        let held = |by: &Option<&mut usize>| by.as_deref().copied().unwrap_or(0);
        if held(&of_workspace) + held(&of_caller) + 3 * outcomes > ROOM - self.used {
            return false;
        }
        self.used += outcomes;
        match of_workspace {
            Some(held) => *held += outcomes,
            None => drop(self.workspaces.insert(reporter.workspace.clone(), outcomes)),
        }
        match of_caller {
            Some(held) => *held += outcomes,
            None => drop(self.callers.insert(reporter.clone(), outcomes)),
        }
        true
    }

    fn give_back(&mut self, reporter: &Reporter, outcomes: usize) {
        self.used -= outcomes;
        // Who holds nothing is forgotten, so that the maps do not grow with every caller that there ever was.
        if let Some(held) = self.workspaces.get_mut(&reporter.workspace) {
            *held -= outcomes;
            if *held == 0 {
                self.workspaces.remove(&reporter.workspace);
            }
        }
        if let Some(held) = self.callers.get_mut(reporter) {
            *held -= outcomes;
            if *held == 0 {
                self.callers.remove(reporter);
            }
        }
    }

    /// Takes room for requests that wait: one of each caller in turn, as long as any fits.
    fn serve(&mut self) -> Vec<(Reporter, Request)> {
        let mut served = Vec::new();
        let mut refused = 0;
        while refused < self.turns.len() {
            let Some(reporter) = self.turns.pop_front() else { break };
            let requests = self.waiting.get_mut(&reporter);
            let next = requests.and_then(|requests| {
                while requests.front().is_some_and(|request| request.answer.is_closed()) {
                    requests.pop_front();
                }
                requests.front().map(|request| request.outcomes)
            });
            match next {
                None => {
                    self.waiting.remove(&reporter);
                    continue;
                }
                Some(outcomes) if self.take(&reporter, outcomes) => {
                    let request = self.waiting.get_mut(&reporter).and_then(VecDeque::pop_front);
                    served.extend(request.map(|request| (reporter.clone(), request)));
                    refused = 0;
                }
                Some(_) => refused += 1,
            }
            if self.waiting.get(&reporter).is_some_and(|requests| !requests.is_empty()) {
                self.turns.push_back(reporter);
            } else {
                self.waiting.remove(&reporter);
            }
        }
        served
    }
}

/// Room that outcomes hold. Dropping it gives it back.
pub(super) struct Held {
    room: Room,
    reporter: Reporter,
    outcomes: usize,
}

impl Held {
    /// Splits off the room of some of the outcomes.
    pub(super) fn split(&mut self, outcomes: usize) -> Self {
        self.outcomes -= outcomes;
        Self { room: self.room.clone(), reporter: self.reporter.clone(), outcomes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.outcomes > 0 {
            self.room.give_back(&self.reporter, self.outcomes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter(workspace: &str, port: u16) -> Reporter {
        Reporter { workspace: workspace.parse().unwrap(), caller: Some(([127, 0, 0, 1], port).into()) }
    }

    fn room() -> Room {
        Room::new(IntGauge::new("waiting", "waiting").unwrap())
    }

    /// Takes room until there is none; returns it with its size.
    fn fill(room: &Room, by: &Reporter) -> (Vec<Held>, usize) {
        let held: Vec<Held> = std::iter::from_fn(|| room.try_take(by, 16)).collect();
        let size = held.iter().map(|held| held.outcomes).sum();
        (held, size)
    }

    #[test]
    fn the_next_one_finds_as_much_as_each_of_those_before() {
        let room = room();
        let mut before = Vec::new();
        for number in 0..5 {
            let (held, size) = fill(&room, &reporter(&format!("w{number}"), 1));
            before.push(held);
            let free = ROOM - room.used();
            assert!(size > ROOM >> (number + 2), "{number} got {size}");
            assert!(free >= size, "{number} got {size} and left {free}");
        }
        drop(before);
        assert_eq!((room.used(), room.gauge.get()), (0, 0));
        let state = room.lock();
        assert!(state.workspaces.is_empty() && state.callers.is_empty(), "nobody is remembered");
    }

    #[test]
    fn another_caller_of_the_same_workspace_finds_room_and_no_caller_gets_more_than_a_third() {
        let room = room();
        let (first, of_first) = fill(&room, &reporter("w", 1));
        assert_eq!(of_first, ROOM / 3);
        let (second, of_second) = fill(&room, &reporter("w", 2));
        assert!(of_second > ROOM / 10, "{of_second}");
        drop((first, second));
        assert_eq!(room.used(), 0);
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_who_left_is_skipped() {
        let room = room();
        let (greedy, modest) = (reporter("greedy", 1), reporter("modest", 2));
        let (mut held, _) = fill(&room, &greedy);
        let gone = room.clone();
        let gone_by = greedy.clone();
        let waiting = tokio::spawn(async move { gone.take(&gone_by, 5000).await.is_some() });
        let (first, then) = (room.clone(), greedy.clone());
        let patient = tokio::spawn(async move { first.take(&then, 16).await.is_some() });
        while room.lock().waiting.get(&greedy).map_or(0, VecDeque::len) < 2 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(room.try_take(&modest, 5000).is_some(), "another one does not wait");
        assert!(!patient.is_finished());
        held.truncate(held.len() - 2);
        assert!(patient.await.unwrap());
        drop(held);
        assert_eq!(room.used(), 0);
        assert!(room.lock().waiting.is_empty() && room.lock().turns.is_empty());
    }
}
