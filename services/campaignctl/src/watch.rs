//! The live view of all campaigns of a workspace: a full screen, or a line for each change.
//!
//! | module | holds |
//! |---|---|
//! | `feed` | the stream of the service, opened again after a failure |
//! | `board` | what is known: campaigns, pace, connection |
//! | `pace` | how fast a campaign goes |
//! | `screen` | the two screens as lines of text, and what keys do |
//! | `words` | a campaign in a few words |
//! | `terminal` | the terminal, and its keys |
//!
//! The screens are lines of text, so a library for the terminal is enough, and none for widgets is needed. Nothing has a
//! colour.
//!
//! It ends with `q`, Ctrl-C, SIGTERM or SIGHUP, restores the terminal and exits with 0. Memory is bounded.

mod board;
mod feed;
mod pace;
mod screen;
mod terminal;
mod words;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use anyhow::bail;
use campaign_metrics::pb;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, Receiver, Sender},
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

use self::{
    board::Board,
    feed::Event,
    screen::{Accounts, Key, Place},
    terminal::Screen,
};
use crate::{
    args::{Output, Watch},
    call::{CALL_MAX, Service},
    exit::Exit,
    target::{Target, write_line},
    view::{self, Document},
};

/// Events that wait for the view. A feed that is faster waits, and the service then sends the latest state.
const EVENTS_MAX: usize = 256;
/// Interval at which times and paces are shown anew.
const TICK: Duration = Duration::from_secs(1);
/// Interval at which the accounts of a shown campaign are read again.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(5);
/// Accounts of a shown campaign: more do not fit on a screen.
const ACCOUNTS_MAX: i32 = 100;
/// Interval at which the reader of keys looks whether it is still needed.
const KEYS_EVERY: Duration = Duration::from_millis(100);

/// Watches until it is ended.
pub async fn run(target: &Target, command: &Watch) -> anyhow::Result<Exit> {
    if matches!(target.output, Output::Json | Output::Csv) {
        bail!("watch never ends, so it prints no document; take -o ndjson, or --plain for people");
    }
    let (events, mut received) = mpsc::channel(EVENTS_MAX);
    let feeding = tokio::spawn(feed::feed(target.service.clone(), target.parent(), events));
    let shown = match target.output {
        Output::Ndjson => messages(&mut received).await,
        _ if command.plain || !io::stdout().is_terminal() => changes(target, &mut received).await,
        _ => live(target, &mut received).await,
    };
    // The feed ends when its receiver is gone.
    drop(received);
    let fed = feeding.await?;
    shown?;
    fed?;
    Ok(Exit::Done)
}

/// The signals that end a view.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [first, second, third] = kinds.map(signal);
        Ok(Self([first?, second?, third?]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Returns the next event; `None` when the view is to end.
async fn next(received: &mut Receiver<Event>, signals: &mut Signals) -> Option<Event> {
    tokio::select! {
        event = received.recv() => event,
        () = signals.received() => None,
    }
}

/// Prints every message of the service as it is. What happens to the connection is told on stderr.
async fn messages(received: &mut Receiver<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    while let Some(event) = next(received, &mut signals).await {
        match event {
            Event::Connected => {}
            Event::Lost { why, wait } => eprintln!("{}", lost(&why, wait)),
            Event::Message(message) => {
                if !write_line(&view::ndjson(&[Document::new(&*message)?])?)? {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn lost(why: &str, wait: Duration) -> String {
    format!("not live; next attempt in {}: {why}", pace::roughly(wait))
}

/// Prints a line for each change that a person would notice.
async fn changes(target: &Target, received: &mut Receiver<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut board = Board::new();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    while let Some(event) = next(received, &mut signals).await {
        let now = Instant::now();
        for line in lines(&mut board, &mut told, event, &target.workspace.to_string(), now) {
            if !write_line(&line)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Applies an event, and returns what to tell about it. `told` holds the last line of each campaign.
fn lines(
    board: &mut Board,
    told: &mut BTreeMap<String, String>,
    event: Event,
    workspace: &str,
    now: Instant,
) -> Vec<String> {
    let change = match event {
        Event::Connected => {
            board.connected();
            return Vec::new();
        }
        Event::Lost { why, wait } => {
            let line = lost(&why, wait);
            board.lost(why, now, wait);
            return vec![line];
        }
        Event::Message(message) => message.change,
    };
    let is_synced = matches!(change, Some(pb::watch_campaigns_response::Change::Synced(())));
    let mut lines = Vec::new();
    for name in change.map(|change| board.apply(change, now)).unwrap_or_default() {
        match board.get(&name) {
            None => {
                told.remove(&name);
                lines.push(format!("{}: deleted", view::id(&name)));
            }
            Some(row) => {
                let line = words::line(row);
                if told.get(&name) != Some(&line) {
                    let pace = format!(", pace {}, ready in {}", words::pace(row, now), words::ready_in(row, now));
                    let is_measured = row.pace.per_hour(now, row.done_and_open().0).is_some();
                    lines.push(if is_measured { format!("{line}{pace}") } else { line.clone() });
                    told.insert(name, line);
                }
            }
        }
    }
    if is_synced {
        let count = i64::try_from(told.len()).unwrap_or(i64::MAX);
        let more = if board.is_full { ", and more that are not shown" } else { "" };
        lines.push(format!("{workspace}: {}{more}; changes follow", view::counted(count, "campaign")));
    }
    lines
}

/// Sends keys until their receiver is gone.
fn read_keys(keys: &Sender<Key>) -> io::Result<()> {
    while !keys.is_closed() {
        if crossterm::event::poll(KEYS_EVERY)?
            && let Some(key) = terminal::key(&crossterm::event::read()?)
            && keys.blocking_send(key).is_err()
        {
            break;
        }
    }
    Ok(())
}

/// Shows the full screen.
async fn live(target: &Target, received: &mut Receiver<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut screen = Screen::open()?;
    let (sender, mut keys) = mpsc::channel(16);
    let reading = spawn_blocking(move || read_keys(&sender));
    let shown = show(target, received, &mut screen, &mut keys, &mut signals).await;
    drop(keys);
    let read = reading.await;
    drop(screen);
    shown?;
    read??;
    Ok(())
}

async fn show(
    target: &Target,
    received: &mut Receiver<Event>,
    screen: &mut Screen,
    keys: &mut Receiver<Key>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let workspace = target.workspace.to_string();
    let (mut board, mut place) = (Board::new(), Place::default());
    // The accounts of the campaign that is shown alone, with the time of the call that read them.
    let mut accounts: Option<(String, Accounts)> = None;
    let mut reading: JoinSet<(String, Accounts)> = JoinSet::new();
    let mut read_at: Option<Instant> = None;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = Instant::now();
        let (_, height) = Screen::size();
        let open = place.open().map(str::to_owned);
        if let Some(name) = &open {
            let is_other = accounts.as_ref().is_none_or(|(of, _)| of != name);
            let is_old = read_at.is_none_or(|at| now.saturating_duration_since(at) >= ACCOUNTS_EVERY);
            if reading.is_empty() && (is_other || is_old) {
                reading.spawn(read_accounts(target.service.clone(), name.clone()));
                read_at = Some(now);
            }
        }
        let row = open.as_ref().and_then(|name| board.get(name));
        if open.is_some() && row.is_none() {
            // The campaign was deleted.
            place.press(Key::Back, &board, 1);
        }
        let lines = match row {
            Some(row) => {
                let own = accounts.as_ref().filter(|(name, _)| *name == row.campaign.name);
                place.detail(row, own.map(|(_, accounts)| accounts), height, now)
            }
            None => place.list(&board, &workspace, height, now),
        };
        screen.draw(&lines)?;
        tokio::select! {
            event = received.recv() => {
                let Some(event) = event else { return Ok(()) };
                take(&mut board, event, now);
                // What waits is shown at once.
                while let Ok(event) = received.try_recv() {
                    take(&mut board, event, now);
                }
            }
            key = keys.recv() => {
                let Some(key) = key else { return Ok(()) };
                if !place.press(key, &board, screen::page(height)) {
                    return Ok(());
                }
            }
            Some(read) = reading.join_next() => accounts = Some(read?),
            _ = ticks.tick() => board.tick(now),
            () = signals.received() => return Ok(()),
        }
    }
}

fn take(board: &mut Board, event: Event, now: Instant) {
    match event {
        Event::Connected => board.connected(),
        Event::Lost { why, wait } => board.lost(why, now, wait),
        Event::Message(message) => {
            if let Some(change) = message.change {
                board.apply(change, now);
            }
        }
    }
}

async fn read_accounts(service: Service, name: String) -> (String, Accounts) {
    let mut client = service.performance();
    let request =
        pb::ListCampaignAccountsRequest { parent: name.clone(), page_size: ACCOUNTS_MAX, page_token: String::new() };
    // The view asks again by itself.
    let read = service.once(request, CALL_MAX, async |request| client.list_campaign_accounts(request).await).await;
    (name, read.map_err(|failure| failure.brief()))
}

#[cfg(test)]
mod tests {
    use campaign_metrics::pb::watch_campaigns_response::Change;

    use super::*;

    fn campaign(id: &str, sent: i64) -> Change {
        Change::Campaign(pb::Campaign {
            name: format!("workspaces/acme/campaigns/{id}"),
            state: pb::CampaignState::Active.into(),
            lead_counts: Some(pb::LeadCounts { sent, pending: 90, total: sent + 90, ..pb::LeadCounts::default() }),
            ..pb::Campaign::default()
        })
    }

    #[test]
    fn a_line_is_told_once_and_again_when_it_changes() {
        let (mut board, mut told, start) = (Board::new(), BTreeMap::new(), Instant::now());
        let mut tell = |event: Event, seconds: u64| {
            lines(&mut board, &mut told, event, "acme", start + Duration::from_secs(seconds))
        };
        let message = |change: Change| Event::Message(Box::new(pb::WatchCampaignsResponse { change: Some(change) }));
        assert_eq!(tell(Event::Connected, 0), [""; 0]);
        assert_eq!(tell(message(campaign("spring", 7)), 0), ["spring: ACTIVE, 7 of 97 leads, 0 in flight"]);
        assert_eq!(tell(message(campaign("summer", 3)), 0), ["summer: ACTIVE, 3 of 93 leads, 0 in flight"]);
        assert_eq!(tell(message(Change::Synced(())), 0), ["acme: 2 campaigns; changes follow"]);
        assert_eq!(tell(message(campaign("spring", 7)), 1), [""; 0], "nothing to be seen changed");
        assert_eq!(
            tell(message(campaign("spring", 37)), 3600),
            ["spring: ACTIVE, 37 of 127 leads, 0 in flight, pace 30/h, ready in 3 h"]
        );
        let lost = Event::Lost { why: "away".into(), wait: Duration::from_secs(2) };
        assert_eq!(tell(lost, 3601), ["not live; next attempt in 2 s: away"]);
        assert_eq!(tell(Event::Connected, 3603), [""; 0]);
        assert_eq!(tell(message(campaign("spring", 37)), 3603), [""; 0]);
        assert_eq!(tell(message(Change::Synced(())), 3603), ["summer: deleted", "acme: 1 campaign; changes follow"]);
    }
}
