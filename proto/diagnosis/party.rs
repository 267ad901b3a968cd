//! Accounts of a campaign, or campaigns of an account, with their messages.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    finding::Culprit,
    messages::{MessageDays, Messages, MessagesBy, by_day},
};

/// An account of a campaign, or a campaign of an account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Party {
    /// `None` for messages whose account is unknown, or whose campaign is deleted.
    pub culprit: Option<Culprit>,
    /// Its messages since each day of [`tested_since`](super::blame::tested_since).
    since: BTreeMap<Date, Messages>,
    /// Its messages by day. Known only of suspects.
    pub days: MessageDays,
}

impl Party {
    /// Returns its messages since a day that begins a tested period.
    pub fn since(&self, day: Date) -> Messages {
        self.since.get(&day).copied().unwrap_or_default()
    }
}

/// Returns those that have messages in a tested period, in the order of their ids.
pub(super) fn parties<Id: Ord>(
    since: &MessagesBy<Id>,
    days: &MessagesBy<Id>,
    culprit: impl Fn(&Id) -> Culprit,
) -> Vec<Party> {
    let with_messages = since.iter().filter(|(_, since)| since.values().any(|messages| messages.all > 0));
    let parties = with_messages.map(|(id, since)| Party {
        culprit: id.as_ref().map(&culprit),
        since: since.clone(),
        days: by_day(days.get(id).into_iter().flatten()),
    });
    parties.collect()
}

/// Adds up parties day by day.
pub(super) fn together<'a>(parties: impl IntoIterator<Item = &'a Party>) -> MessageDays {
    by_day(parties.into_iter().flat_map(|party| &party.days).map(|(day, messages)| (day, messages)))
}

/// Takes parties away from the whole, day by day.
pub(super) fn without<'a>(all: &[(Date, Messages)], parties: impl IntoIterator<Item = &'a Party>) -> MessageDays {
    let mut rest: BTreeMap<Date, Messages> = all.iter().copied().collect();
    for (day, messages) in parties.into_iter().flat_map(|party| &party.days) {
        rest.entry(*day).or_default().subtract(*messages);
    }
    by_day(&rest)
}
