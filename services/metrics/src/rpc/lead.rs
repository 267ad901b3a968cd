//! Handlers of LeadService.

use std::time::Duration;

use campaign_metrics::{
    invalid::Invalid,
    name::{AccountName, CampaignName, LeadName},
    pb,
    sending::LEADS_MAX,
    wire,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Messages, Rpc, batch_size, export,
    page::{Query, bad_cursor},
    unread::until_unread,
};
use crate::{
    error::{Error, Result},
    store::{LeadFilter, NewLead, Refusal},
};

/// Longest wait for the next message of an import. A client that is silent for longer is taken as disconnected.
const IMPORT_IDLE: Duration = Duration::from_mins(1);
/// Most refused leads in a response. More would exceed the size of a message.
const REFUSED_MAX: usize = 10_000;
/// Most accounts that may take over leads in one call.
const REASSIGN_ACCOUNTS_MAX: usize = 100;

impl Rpc {
    async fn add(&self, mut stream: Streaming<pb::AddLeadsRequest>) -> Result<pb::AddLeadsResponse, Status> {
        let mut response = pb::AddLeadsResponse::default();
        let mut campaign: Option<CampaignName> = None;
        let mut offset = 0;
        let idle = self.stream_idle.min(IMPORT_IDLE);
        loop {
            let next = tokio::time::timeout(idle, stream.message()).await.map_err(|_| Error::DeadlineExceeded)?;
            let Some(message) = next? else { break };
            let name = match &campaign {
                Some(name) => name,
                None => campaign.insert(wire::parse("parent", &message.parent).map_err(Error::from)?),
            };
            offset += self.add_message(name, message, offset, &mut response).await?;
        }
        if campaign.is_none() {
            return Err(Error::from(Invalid::new("parent", "is required: the stream was empty")).into());
        }
        Ok(response)
    }

    /// Adds the leads of one message. Returns their number, including refused leads.
    async fn add_message(
        &self,
        campaign: &CampaignName,
        message: pb::AddLeadsRequest,
        offset: i64,
        response: &mut pb::AddLeadsResponse,
    ) -> Result<i64> {
        let count = message.leads.len();
        if count > LEADS_MAX {
            let problem = format!("has {count} entries, at most {LEADS_MAX} fit in one message; split it");
            return Err(Invalid::new("leads", problem).into());
        }
        let at = |index: usize| offset + i64::try_from(index).unwrap_or(0);
        let mut refused: Vec<pb::RefusedLead> = Vec::new();
        let mut leads = Vec::with_capacity(count);
        let mut indexes = Vec::with_capacity(count);
        for (index, lead) in message.leads.into_iter().enumerate() {
            match new_lead(&lead) {
                Ok(lead) => {
                    leads.push(lead);
                    indexes.push(index);
                }
                Err((reason, invalid)) => {
                    refused.push(pb::RefusedLead {
                        index: at(index),
                        reason: reason.to_owned(),
                        message: invalid.to_string(),
                    });
                }
            }
        }
        let added = self.store.leads_add(campaign, &leads, message.lead_list_complete).await?;
        refused.extend(added.refused.into_iter().map(|(index, refusal)| refused_lead(at(indexes[index]), &refusal)));
        refused.sort_by_key(|refused| refused.index);
        response.added_count += added.added;
        response.existing_count += added.existing;
        response.refused_count += i64::try_from(refused.len()).unwrap_or(0);
        let room = REFUSED_MAX.saturating_sub(response.refused.len());
        response.refused.extend(refused.into_iter().take(room));
        Ok(i64::try_from(count).unwrap_or(0))
    }

    async fn leads_page(&self, request: pb::ListLeadsRequest) -> Result<pb::ListLeadsResponse> {
        let campaign: CampaignName = wire::parse("parent", &request.parent)?;
        let status = wire::parse_lead_status(request.status)?;
        let account = match request.account.as_str() {
            "" => None,
            account => Some(wire::parse::<AccountName>("account", account)?),
        };
        if account.as_ref().is_some_and(|account| account.workspace != campaign.workspace) {
            return Err(Invalid::new("account", "belongs to another workspace than `parent`").into());
        }
        let failure_reason = wire::parse_failure_reason(request.failure_reason)?;
        let (last_action_after, last_action_before) =
            wire::parse_last_action(request.last_action_after, request.last_action_before)?;
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&[
            "ListLeads",
            &request.parent,
            &request.status.to_string(),
            &request.account,
            &request.failure_reason.to_string(),
            &format!("{last_action_after:?}"),
            &format!("{last_action_before:?}"),
        ]);
        let after = match query.cursor(&request.page_token)? {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let filter = LeadFilter {
            status,
            account: account.as_ref().map(|account| &account.account),
            failure_reason,
            last_action_after,
            last_action_before,
        };
        let (leads, next) = self.store.lead_list(&campaign, &filter, after, limit).await?;
        let (leads, mut next_page_token) =
            query.page(leads, limit, |(number, _)| number.to_string(), |(_, lead)| lead.into());
        // A page without enough matches has a next one, too: the rest was not looked at.
        if next_page_token.is_empty() {
            next_page_token = next.map(|next| query.token(&next.to_string())).unwrap_or_default();
        }
        Ok(pb::ListLeadsResponse { leads, next_page_token })
    }

    async fn outcomes_page(&self, request: pb::ListLeadOutcomesRequest) -> Result<pb::ListLeadOutcomesResponse> {
        let lead: LeadName = wire::parse("parent", &request.parent)?;
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&["ListLeadOutcomes", &request.parent]);
        let skip: i64 = match query.cursor(&request.page_token)? {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let outcomes = self.store.lead_outcomes(&lead, skip.max(0), limit + 1).await?;
        let counted = (skip.max(0) + 1..).zip(outcomes).collect();
        let (outcomes, next_page_token) =
            query.page(counted, limit, |(count, _)| count.to_string(), |(_, outcome)| outcome.into());
        Ok(pb::ListLeadOutcomesResponse { outcomes, next_page_token })
    }

    async fn reassign(&self, request: pb::ReassignLeadsRequest) -> Result<pb::ReassignLeadsResponse> {
        let campaign: CampaignName = wire::parse("parent", &request.parent)?;
        let from = in_workspace("from_account", &request.from_account, &campaign)?;
        batch_size("to_accounts", request.to_accounts.len(), REASSIGN_ACCOUNTS_MAX)?;
        let to = request.to_accounts.iter().enumerate();
        let to = to.map(|(index, account)| in_workspace(&format!("to_accounts[{index}]"), account, &campaign));
        let reassigned = self.store.leads_reassign(&campaign, &from, &to.collect::<Result<Vec<_>>>()?).await?;
        Ok(pb::ReassignLeadsResponse { reassigned_count: reassigned.count, more: reassigned.more })
    }
}

fn in_workspace(field: &str, account: &str, campaign: &CampaignName) -> Result<AccountName> {
    let account: AccountName = wire::parse(field, account)?;
    if account.workspace != campaign.workspace {
        return Err(Invalid::new(field, "belongs to another workspace than `parent`").into());
    }
    Ok(account)
}

fn new_lead(lead: &pb::NewLead) -> Result<NewLead, (&'static str, Invalid)> {
    let id = wire::parse("lead_id", &lead.lead_id).map_err(|invalid| ("INVALID_LEAD_ID", invalid))?;
    let account = match lead.account_id.as_str() {
        "" => None,
        account => Some(wire::parse("account_id", account).map_err(|invalid| ("INVALID_ACCOUNT_ID", invalid))?),
    };
    Ok(NewLead { id, account })
}

fn refused_lead(index: i64, refusal: &Refusal) -> pb::RefusedLead {
    let (reason, message) = match refusal {
        Refusal::AccountNotServing(account) => (
            "ACCOUNT_NOT_SERVING",
            format!(
                "account_id: `{account}` does not serve the campaign; add it to the campaign's accounts, or leave it out"
            ),
        ),
        Refusal::AccountDiffers => (
            "ACCOUNT_DIFFERS",
            "account_id: the lead exists with another account, which it keeps; leave it out".to_owned(),
        ),
    };
    pb::RefusedLead { index, reason: reason.to_owned(), message }
}

#[tonic::async_trait]
impl pb::lead_service_server::LeadService for Rpc {
    async fn add_leads(
        &self,
        request: Request<Streaming<pb::AddLeadsRequest>>,
    ) -> Result<Response<pb::AddLeadsResponse>, Status> {
        Ok(Response::new(self.add(request.into_inner()).await?))
    }

    async fn get_lead(&self, request: Request<pb::GetLeadRequest>) -> Result<Response<pb::Lead>, Status> {
        let name = wire::parse("name", &request.into_inner().name).map_err(Error::from)?;
        Ok(Response::new(self.store.lead_get(&name).await?.into()))
    }

    async fn list_leads(
        &self,
        request: Request<pb::ListLeadsRequest>,
    ) -> Result<Response<pb::ListLeadsResponse>, Status> {
        Ok(Response::new(self.leads_page(request.into_inner()).await?))
    }

    async fn list_lead_outcomes(
        &self,
        request: Request<pb::ListLeadOutcomesRequest>,
    ) -> Result<Response<pb::ListLeadOutcomesResponse>, Status> {
        Ok(Response::new(self.outcomes_page(request.into_inner()).await?))
    }

    async fn reassign_leads(
        &self,
        request: Request<pb::ReassignLeadsRequest>,
    ) -> Result<Response<pb::ReassignLeadsResponse>, Status> {
        Ok(Response::new(self.reassign(request.into_inner()).await?))
    }

    async fn delete_lead(
        &self,
        request: Request<pb::DeleteLeadRequest>,
    ) -> Result<Response<pb::DeleteLeadResponse>, Status> {
        let pb::DeleteLeadRequest { name, force } = request.into_inner();
        let name = wire::parse("name", &name).map_err(Error::from)?;
        self.store.lead_delete(&name, force).await?;
        Ok(Response::new(pb::DeleteLeadResponse {}))
    }

    type ExportLeadsStream = Messages<pb::ExportLeadsResponse>;

    async fn export_leads(
        &self,
        request: Request<pb::ExportLeadsRequest>,
    ) -> Result<Response<Self::ExportLeadsStream>, Status> {
        let campaign = wire::parse("parent", &request.into_inner().parent).map_err(Error::from)?;
        Ok(Response::new(until_unread(export::leads(self, &campaign).await?, self.stream_idle)))
    }

    type ExportOutcomesStream = Messages<pb::ExportOutcomesResponse>;

    async fn export_outcomes(
        &self,
        request: Request<pb::ExportOutcomesRequest>,
    ) -> Result<Response<Self::ExportOutcomesStream>, Status> {
        let campaign = wire::parse("parent", &request.into_inner().parent).map_err(Error::from)?;
        Ok(Response::new(until_unread(export::outcomes(self, &campaign).await?, self.stream_idle)))
    }
}
