//! The commands that answer how a campaign or account performs.
//!
//! For people every answer begins with a sentence that says the most important thing. The evidence follows in small
//! tables, then what to do. An answer fits in 80 columns and needs no colour. What is absent is a dash.

mod accounts;
mod chart;
mod comparison;
mod diagnosis;
mod history;
mod next;
#[cfg(test)]
mod testing;

use campaign_metrics::pb;
use jiff::civil::Date;

pub use self::accounts::text as accounts_text;
use self::{
    chart::Marks,
    history::{Past, Shown},
    next::Subject,
};
use crate::{
    args::{Compare, FailOn, Failing, OneAccount, OneCampaign, Period},
    call::PAGE,
    exit::Exit,
    target::Target,
    view,
};

/// Diagnoses a campaign.
pub async fn diagnose_campaign(target: &Target, of: OneCampaign, failing: Failing) -> anyhow::Result<Exit> {
    let mut client = target.service.performance();
    let subject = Subject::Campaign(of.campaign.to_string());
    let request = pb::DiagnoseCampaignRequest { name: target.campaign(of.campaign).to_string() };
    let diagnosis = target.service.call(request, async |request| client.diagnose_campaign(request).await).await?;
    show_diagnosis(target, &subject, &diagnosis, failing.fail_on)
}

/// Diagnoses an account.
pub async fn diagnose_account(target: &Target, of: OneAccount, failing: Failing) -> anyhow::Result<Exit> {
    let mut client = target.service.performance();
    let subject = Subject::Account(of.account.to_string());
    let request = pb::DiagnoseAccountRequest { name: target.account(of.account) };
    let diagnosis = target.service.call(request, async |request| client.diagnose_account(request).await).await?;
    show_diagnosis(target, &subject, &diagnosis, failing.fail_on)
}

fn show_diagnosis(
    target: &Target,
    subject: &Subject,
    diagnosis: &pb::Diagnosis,
    fail_on: Option<FailOn>,
) -> anyhow::Result<Exit> {
    target.answer(diagnosis, &diagnosis.findings, || Ok(diagnosis::text(subject, diagnosis)))?;
    let is_found = |least: pb::Severity| diagnosis.findings.iter().any(|finding| finding.severity >= i32::from(least));
    Ok(if fail_on.is_some_and(|least| is_found(least.into())) { Exit::Found } else { Exit::Done })
}

/// Compares campaigns.
pub async fn compare(target: &Target, command: Compare) -> anyhow::Result<Exit> {
    let mut client = target.service.performance();
    let request = pb::CompareCampaignsRequest {
        parent: target.parent(),
        campaigns: command.campaigns.into_iter().map(|campaign| target.campaign(campaign).to_string()).collect(),
        age_days: command.age_days,
    };
    let comparison = target.service.call(request, async |request| client.compare_campaigns(request).await).await?;
    target.answer(&comparison, &comparison.campaigns, || Ok(comparison::text(&comparison)))
}

fn day(day: Option<Date>) -> String {
    day.map(|day| day.to_string()).unwrap_or_default()
}

/// Shows the history of a campaign, all pages as one.
pub async fn campaign_history(
    target: &Target,
    of: OneCampaign,
    period: &Period,
    by_account: bool,
) -> anyhow::Result<Exit> {
    let mut client = target.service.performance();
    let id = of.campaign.to_string();
    let mut request = pb::QueryCampaignHistoryRequest {
        name: target.campaign(of.campaign).to_string(),
        first_day: day(period.from),
        last_day: day(period.to),
        by_account,
        page_size: PAGE.cast_signed(),
        page_token: String::new(),
    };
    let mut whole = pb::QueryCampaignHistoryResponse::default();
    loop {
        let page =
            target.service.call(request.clone(), async |request| client.query_campaign_history(request).await).await?;
        if request.page_token.is_empty() {
            whole = page;
        } else {
            whole.days.extend(page.days);
            whole.next_page_token = page.next_page_token;
        }
        if whole.next_page_token.is_empty() {
            break;
        }
        request.page_token.clone_from(&whole.next_page_token);
    }
    let past = Past {
        command: "campaigns",
        id: &id,
        first: period.from,
        last: period.to,
        as_of: whole.as_of_time.as_ref(),
        days: &whole.days,
        corrections: whole.corrections.as_ref(),
    };
    let shown = if by_account { Shown::Accounts } else { Shown::Days };
    show_history(target, &whole, &past, period, shown)
}

/// Shows the history of an account.
pub async fn account_history(target: &Target, of: OneAccount, period: &Period) -> anyhow::Result<Exit> {
    let mut client = target.service.performance();
    let id = of.account.to_string();
    let request = pb::QueryAccountHistoryRequest {
        name: target.account(of.account),
        first_day: day(period.from),
        last_day: day(period.to),
    };
    let whole = target.service.call(request, async |request| client.query_account_history(request).await).await?;
    let past = Past {
        command: "accounts",
        id: &id,
        first: period.from,
        last: period.to,
        as_of: whole.as_of_time.as_ref(),
        days: &whole.days,
        corrections: whole.corrections.as_ref(),
    };
    show_history(target, &whole, &past, period, Shown::Days)
}

fn show_history<M: view::Message>(
    target: &Target,
    whole: &M,
    past: &Past<'_>,
    period: &Period,
    shown: Shown,
) -> anyhow::Result<Exit> {
    // In NDJSON and CSV the corrections are a row without a day.
    let corrections =
        past.corrections.map(|counts| pb::HistoryDay { counts: Some(counts.clone()), ..Default::default() });
    let items: Vec<pb::HistoryDay> = past.days.iter().cloned().chain(corrections).collect();
    target.answer(whole, &items, || Ok(history::text(past, shown, Marks::choose(period.plain))))
}

/// Lists the accounts of a campaign.
pub async fn campaign_accounts(target: &Target, of: OneCampaign) -> anyhow::Result<Exit> {
    let id = of.campaign.to_string();
    let whole = target.service.campaign_accounts(target.campaign(of.campaign).to_string()).await?;
    // In NDJSON and CSV what has no account is a row without one.
    let items: Vec<pb::CampaignAccount> = whole.accounts.iter().chain(&whole.unassigned).cloned().collect();
    target.answer(&whole, &items, || Ok(accounts::text(&id, &whole)))
}

/// Shows the totals of the workspace.
pub async fn workspace_totals(target: &Target) -> anyhow::Result<Exit> {
    let mut client = target.service.performance();
    let request = pb::GetWorkspaceTotalsRequest { name: target.parent() };
    let totals = target.service.call(request, async |request| client.get_workspace_totals(request).await).await?;
    let all = [
        totals.active_campaigns,
        totals.paused_campaigns,
        totals.finished_campaigns,
        totals.active_accounts,
        totals.suspended_accounts,
    ];
    let message = if all.iter().all(|count| *count == 0) {
        let nothing = format!("workspace {} has no campaign and no account;", target.workspace);
        view::wrap("", &format!("{nothing} create an account first: campaignctl accounts create --help"))
    } else {
        String::new()
    };
    target.show_one(&totals, &message)
}
