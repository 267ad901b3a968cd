//! Accounts of a campaign, or campaigns of an account, with their messages by day.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    finding::Culprit,
    messages::{MessageDays, Messages, MessagesBy},
};

/// An account of a campaign, or a campaign of an account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Party {
    /// `None` for messages whose account is unknown, or whose campaign is deleted.
    pub culprit: Option<Culprit>,
    pub days: MessageDays,
}

/// Returns those that have messages, in the order of their ids. Days without messages are left out.
pub(super) fn parties<Id>(messages: &MessagesBy<Id>, culprit: impl Fn(&Id) -> Culprit) -> Vec<Party> {
    let with_messages = |days: &BTreeMap<Date, Messages>| -> MessageDays {
        days.iter().filter(|(_, messages)| messages.all > 0).map(|(day, messages)| (*day, *messages)).collect()
    };
    let parties =
        messages.iter().map(|(id, days)| Party { culprit: id.as_ref().map(&culprit), days: with_messages(days) });
    parties.filter(|party| !party.days.is_empty()).collect()
}

/// Adds up parties day by day.
pub(super) fn together<'a>(parties: impl IntoIterator<Item = &'a Party>) -> MessageDays {
    let mut sums: BTreeMap<Date, Messages> = BTreeMap::new();
    for (day, messages) in parties.into_iter().flat_map(|party| &party.days) {
        sums.entry(*day).or_default().add(*messages);
    }
    sums.into_iter().collect()
}
