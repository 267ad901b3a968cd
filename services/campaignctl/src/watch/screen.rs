//! The two screens, and what keys do. Pure: lines of text out, so that they can be tested without a terminal.

use std::time::Instant;

use campaign_metrics::pb;

use super::{
    board::{Board, Row},
    words,
};
use crate::{
    answer,
    view::{Align, Grid, View as _, counted, health_cell, id, or_dash, share, wrap},
};

/// Lines above the list, with the heads of its columns, and below it.
const AROUND: usize = 4 + 3;

/// What a pressed key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the first line.
    Home,
    /// To the last line.
    End,
    /// Show the selected campaign.
    Enter,
    /// Back to the list.
    Back,
    /// Draw everything again.
    Redraw,
    /// Quit.
    Quit,
}

/// A line of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text.
    pub text: String,
    /// Whether it is the selected one.
    pub is_marked: bool,
}

fn line(text: impl Into<String>) -> Line {
    Line { text: text.into(), is_marked: false }
}

/// The accounts of the shown campaign, or why they can't be shown.
pub type Accounts = Result<pb::ListCampaignAccountsResponse, String>;

/// Where the person is.
#[derive(Debug, Default)]
pub struct Place {
    /// Resource name of the selected campaign.
    selected: Option<String>,
    /// Whether it is shown alone.
    is_open: bool,
    /// First line that is shown of it.
    scroll: usize,
}

impl Place {
    /// The campaign that is shown alone.
    pub fn open(&self) -> Option<&str> {
        self.selected.as_deref().filter(|_| self.is_open)
    }

    /// Moves. Returns whether to go on. `page` is the number of lines of a page.
    pub fn press(&mut self, key: Key, board: &Board, page: usize) -> bool {
        match (key, self.is_open) {
            (Key::Quit, _) => return false,
            (Key::Redraw, _) | (Key::Enter, true) => {}
            (Key::Back, _) => self.is_open = false,
            (Key::Enter, false) => (self.is_open, self.scroll) = (self.selected(board).is_some(), 0),
            (_, true) => self.scroll = moved(key, self.scroll, usize::MAX, page),
            (_, false) => {
                let rows = board.ordered();
                let at = self.at(&rows);
                let to = moved(key, at, rows.len(), page);
                self.selected = rows.get(to).map(|row| row.campaign.name.clone());
            }
        }
        true
    }

    /// The line of the selected campaign; the first if it is gone.
    fn at(&self, rows: &[&Row]) -> usize {
        rows.iter().position(|row| Some(&row.campaign.name) == self.selected.as_ref()).unwrap_or_default()
    }

    /// Selects the first campaign if none is, and returns the selected one.
    fn selected(&mut self, board: &Board) -> Option<&str> {
        let rows = board.ordered();
        let at = self.at(&rows);
        self.selected = rows.get(at).map(|row| row.campaign.name.clone());
        self.selected.as_deref()
    }

    /// Renders the list of campaigns.
    pub fn list(&self, board: &Board, workspace: &str, height: usize, now: Instant) -> Vec<Line> {
        let rows = board.ordered();
        let active = rows.iter().filter(|row| row.campaign.state() == pb::CampaignState::Active).count();
        let more = if board.is_full { ", and more that are not shown" } else { "" };
        let mut lines = vec![
            line(format!("{workspace}: {}, {active} active{more}", count(rows.len(), "campaign"))),
            line(words::connection(&board.connection, now)),
            line(""),
        ];
        let page = page(height);
        let at = self.at(&rows);
        let first = (at + 1).saturating_sub(page);
        let text = list(&rows, now).text(2);
        for (place, text) in text.lines().enumerate() {
            let is_marked = place > 0 && place - 1 == at;
            let is_shown = place == 0 || (first..first + page).contains(&(place - 1));
            if is_shown && !rows.is_empty() {
                let text = if is_marked { text.replacen("  ", "> ", 1) } else { text.to_owned() };
                lines.push(Line { text, is_marked });
            }
        }
        if rows.is_empty() {
            lines.push(line("There is no campaign. One that is created appears here."));
        }
        let about = rows.get(at).map(|row| {
            let why = words::why_not(&row.campaign).unwrap_or_else(|| "messages can be sent".to_owned());
            format!("{}: {why}", id(&row.campaign.name))
        });
        fill(lines, height, [about.unwrap_or_default(), "Up/Down select   Enter details   q quit".to_owned()])
    }

    /// Renders the campaign that is shown alone. Corrects a scroll beyond the end.
    pub fn detail(&mut self, row: &Row, accounts: Option<&Accounts>, height: usize, now: Instant) -> Vec<Line> {
        let mut text = String::new();
        for (label, value) in row.campaign.details() {
            if let Some(value) = value {
                text += &wrap(&format!("{label:13}"), &value);
            }
        }
        let speed = format!("{}, ready in {}", words::pace(row, now), words::ready_in(row, now));
        text += &wrap("Pace         ", &speed);
        text.push('\n');
        text += &match accounts {
            None => "Loading the accounts\n".to_owned(),
            Some(Err(why)) => wrap("", &format!("The accounts can't be shown: {why}")),
            Some(Ok(accounts)) => answer::accounts_text(id(&row.campaign.name), accounts),
        };
        let page = height.saturating_sub(2).max(1);
        let total = text.lines().count();
        self.scroll = self.scroll.min(total.saturating_sub(page));
        let lines: Vec<Line> = text.lines().skip(self.scroll).take(page).map(line).collect();
        let below = total.saturating_sub(self.scroll + page);
        let more = if below > 0 { format!("{} more below", count(below, "line")) } else { String::new() };
        fill(lines, height, [more, "Up/Down scroll   Esc back   q quit".to_owned()])
    }
}

fn count(number: usize, noun: &str) -> String {
    counted(i64::try_from(number).unwrap_or(i64::MAX), noun)
}

/// Campaigns that fit on a screen.
pub fn page(height: usize) -> usize {
    height.saturating_sub(AROUND).max(1)
}

/// Returns where a key leads, in a list of some length.
fn moved(key: Key, from: usize, length: usize, page: usize) -> usize {
    let to = match key {
        Key::Up => from.saturating_sub(1),
        Key::Down => from.saturating_add(1),
        Key::PageUp => from.saturating_sub(page),
        Key::PageDown => from.saturating_add(page),
        Key::Home => 0,
        Key::End => length,
        Key::Enter | Key::Back | Key::Redraw | Key::Quit => from,
    };
    to.min(length.saturating_sub(1))
}

/// Fills up to the height of the screen, so that the last two lines stay at the bottom.
fn fill(mut lines: Vec<Line>, height: usize, last: [String; 2]) -> Vec<Line> {
    lines.resize(height.saturating_sub(last.len()), line(""));
    lines.extend(last.map(line));
    lines
}

fn list(rows: &[&Row], now: Instant) -> Grid {
    let mut grid = Grid::new([
        ("CAMPAIGN", Align::Name),
        ("STATE", Align::Left),
        ("DONE", Align::Right),
        ("LEADS", Align::Right),
        ("FAILED", Align::Right),
        ("HEALTH", Align::Left),
        ("PACE", Align::Right),
        ("READY IN", Align::Right),
    ]);
    for row in rows {
        let campaign = &row.campaign;
        let leads = campaign.lead_counts.unwrap_or_default();
        grid.row([
            id(&campaign.name).to_owned(),
            words::state(campaign).to_owned(),
            or_dash(campaign.progress_ratio.map(share)),
            leads.total.to_string(),
            leads.failed.to_string(),
            or_dash(health_cell(campaign.delivery_health(), campaign.delivery_health_certain)),
            words::pace(row, now),
            words::ready_in(row, now),
        ]);
    }
    grid
}

#[cfg(test)]
#[path = "screen/tests.rs"]
mod tests;
