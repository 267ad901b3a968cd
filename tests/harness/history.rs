//! Recounts the history of a campaign and the leads of its accounts independently of SQL: from its leads and their log,
//! with the domain types in Rust.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use campaign_metrics::{
    history::AGE_MAX,
    lead::{Fact, Facts, LeadStatus, Reasons, Step, StepOutcome},
    name::CampaignName,
};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use tokio_postgres::Client;

/// `all_accounts()` of the schema.
const ALL_ACCOUNTS: i32 = -1;
/// Where numbers of first contacts, replies and conversions begin in a row of history.
const CONTACTED: usize = 11;
const REPLIED: usize = CONTACTED + 1;
const CONVERTED: usize = REPLIED + AGE_MAX + 1;
const NUMBERS: usize = CONVERTED + AGE_MAX + 1;

/// The numbers of history by account (0 for none) and day, in the order of its columns.
type History = BTreeMap<(i32, Date), Vec<i64>>;
/// Leads by account (0 for none): pending, partial, sent, failed.
type AccountLeads = BTreeMap<i32, [i64; 4]>;

/// An outcome of a lead: its account (0 for none) and its time.
type Logged = (i32, Timestamp);

#[derive(Debug)]
struct Lead {
    facts: Facts,
    reasons: Reasons,
    account: i32,
    /// The log, in order of arrival.
    log: Vec<(Fact, Logged)>,
}

/// The key of a campaign, and its steps.
#[derive(Debug)]
pub struct Key {
    pub workspace_id: i32,
    pub campaign_id: i32,
    pub steps: Step,
}

/// Finds the key of a campaign, given its resource name.
pub async fn key(sql: &Client, campaign: &str) -> Result<Key> {
    let name: CampaignName = campaign.parse()?;
    let row = sql
        .query_opt(
            "SELECT workspace_id, campaign_id, c.steps::int4 FROM campaigns c JOIN workspaces w USING (workspace_id) \
             WHERE w.name = $1 AND c.name = $2",
            &[&name.workspace.as_str(), &name.campaign.as_str()],
        )
        .await?
        .with_context(|| format!("no row of {name}"))?;
    let steps = Step::new(row.get(2)).context("a campaign has 1 to 16 steps")?;
    Ok(Key { workspace_id: row.get(0), campaign_id: row.get(1), steps })
}

/// Fails if the history of a campaign, or the leads of its accounts, are not what its leads and their log say. A campaign
/// that lost a part of its log has no history to compare with.
pub async fn check(sql: &Client, campaign: &str) -> Result<()> {
    let key = key(sql, campaign).await?;
    let leads = leads(sql, &key).await?;
    let (stored, recounted) = (stored_account_leads(sql, &key).await?, account_leads(&leads, key.steps));
    ensure!(stored == recounted, "leads of the accounts of {campaign} are {stored:?}, its leads say {recounted:?}");
    let closed = "SELECT EXISTS (SELECT FROM history_closed WHERE workspace_id = $1 AND campaign_id = $2)";
    if sql.query_one(closed, &[&key.workspace_id, &key.campaign_id]).await?.get(0) {
        return Ok(());
    }
    let (mut stored, mut recounted) = (stored_history(sql, &key).await?, history(&leads, key.steps)?);
    let is_same = |row: &&(i32, Date)| stored.get(*row) == recounted.get(*row);
    for row in stored.keys().filter(is_same).copied().collect::<Vec<_>>() {
        stored.remove(&row);
        recounted.remove(&row);
    }
    ensure!(stored == recounted, "the history of {campaign} has {stored:?}, its log says {recounted:?}");
    Ok(())
}

async fn leads(sql: &Client, Key { workspace_id, campaign_id, .. }: &Key) -> Result<BTreeMap<i32, Lead>> {
    let leads = "SELECT lead_no, mask, failed_reasons, bounced_reasons, coalesce(account_id, 0) FROM leads
        WHERE workspace_id = $1 AND campaign_id = $2";
    let log = "SELECT lead_no, bit, coalesce(account_id, 0), happened_at FROM outcomes
        WHERE workspace_id = $1 AND campaign_id = $2 ORDER BY received_at, batch_ordinal";
    let mut found = BTreeMap::new();
    for row in sql.query(leads, &[workspace_id, campaign_id]).await? {
        let reasons = Reasons { failed: row.get(2), bounced: row.get(3) };
        found.insert(row.get(0), Lead { facts: Facts(row.get(1)), reasons, account: row.get(4), log: Vec::new() });
    }
    for row in sql.query(log, &[workspace_id, campaign_id]).await? {
        let lead: &mut Lead = found.get_mut(&row.get(0)).context("the log is of leads")?;
        let fact = Fact::from_bit(u8::try_from(row.get::<_, i16>(1))?).context("the log is of facts")?;
        lead.log.push((fact, (row.get(2), row.get(3))));
    }
    Ok(found)
}

impl Lead {
    fn logged(&self, fact: Fact) -> Result<Logged> {
        let entry = self.log.iter().find(|(logged, _)| *logged == fact);
        entry.map(|(_, logged)| *logged).with_context(|| format!("the log lacks {fact:?} of {self:?}"))
    }

    fn count(&self, steps: Step, history: &mut History) -> Result<()> {
        let mut add = |account: i32, at: Timestamp, number: usize| {
            let day = at.to_zoned(TimeZone::UTC).date();
            for account in [account, ALL_ACCOUNTS] {
                history.entry((account, day)).or_insert_with(|| vec![0; NUMBERS])[number] += 1;
            }
        };
        let mut contact: Option<(Timestamp, i32)> = None;
        for step in (1..=i32::from(steps.number())).filter_map(Step::new) {
            let Some(result) = self.facts.result(step) else { continue };
            let (fact, first) = match result {
                StepOutcome::Delivered => (Fact::Delivered(step), 0),
                StepOutcome::Failed => (Fact::Failed(step), 1),
                StepOutcome::Bounced => (Fact::Bounced(step), 6),
            };
            let reason = self.reasons.of_result(step, result).map_or(0, |reason| reason as usize - 1);
            // The account of the first outcome of the message.
            let first_of_step = self.log.iter().find(|(logged, _)| logged.step() == Some(step));
            let (_, (account, _)) = first_of_step.context("a result has an outcome")?;
            let (_, at) = self.logged(fact)?;
            add(*account, at, first + reason);
            if result == StepOutcome::Delivered && contact.is_none_or(|(earliest, _)| at < earliest) {
                contact = Some((at, *account));
            }
        }
        let Some((contacted, account)) = contact else { return Ok(()) };
        add(account, contacted, CONTACTED);
        for (fact, first) in [(Fact::Replied, REPLIED), (Fact::Converted, CONVERTED)] {
            if self.facts.has(fact) {
                let (_, at) = self.logged(fact)?;
                if let Some(age) = age(at.duration_since(contacted)) {
                    add(account, contacted, first + age);
                }
            }
        }
        Ok(())
    }
}

/// Days, rounded up; `None` above the largest age.
fn age(since: SignedDuration) -> Option<usize> {
    let day = SignedDuration::from_hours(24).as_micros();
    let days = usize::try_from((since.as_micros().max(0) + day - 1) / day).ok()?;
    (days <= AGE_MAX).then_some(days)
}

fn history(leads: &BTreeMap<i32, Lead>, steps: Step) -> Result<History> {
    let mut history = History::new();
    for lead in leads.values() {
        lead.count(steps, &mut history)?;
    }
    Ok(history)
}

async fn stored_history(sql: &Client, Key { workspace_id, campaign_id, .. }: &Key) -> Result<History> {
    let rows = "SELECT account_id, day, history_numbers(h) FROM history h
        WHERE workspace_id = $1 AND campaign_id = $2";
    let mut history = History::new();
    for row in sql.query(rows, &[workspace_id, campaign_id]).await? {
        let numbers: Vec<i64> = row.get(2);
        if numbers.iter().any(|number| *number != 0) {
            history.insert((row.get(0), row.get(1)), numbers);
        }
    }
    Ok(history)
}

fn account_leads(leads: &BTreeMap<i32, Lead>, steps: Step) -> AccountLeads {
    let mut counts = AccountLeads::new();
    for lead in leads.values() {
        let place = match lead.facts.status(steps) {
            LeadStatus::Pending => 0,
            LeadStatus::Partial => 1,
            LeadStatus::Sent => 2,
            LeadStatus::Failed => 3,
        };
        counts.entry(lead.account).or_default()[place] += 1;
    }
    counts
}

async fn stored_account_leads(sql: &Client, Key { workspace_id, campaign_id, .. }: &Key) -> Result<AccountLeads> {
    let rows = "SELECT account_id, pending, partial, sent, failed FROM account_leads
        WHERE workspace_id = $1 AND campaign_id = $2";
    let mut counts = AccountLeads::new();
    for row in sql.query(rows, &[workspace_id, campaign_id]).await? {
        let leads = std::array::from_fn(|status| row.get(status + 1));
        if leads != [0; 4] {
            counts.insert(row.get(0), leads);
        }
    }
    Ok(counts)
}
