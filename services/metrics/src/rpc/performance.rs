//! Handlers of PerformanceService.

use campaign_metrics::{
    comparison,
    diagnosis::{diagnose_account, diagnose_campaign},
    history::CampaignAccount,
    name::{AccountName, CampaignName, WorkspaceName},
    pb, wire,
};
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    page::{Query, bad_cursor},
};
use crate::error::Result;

impl Rpc {
    async fn campaign_history(
        &self,
        request: pb::QueryCampaignHistoryRequest,
    ) -> Result<pb::QueryCampaignHistoryResponse> {
        let name: CampaignName = wire::parse("name", &request.name)?;
        let limit = wire::history_page_size(request.page_size)?;
        let pb::QueryCampaignHistoryRequest { first_day, last_day, by_account, .. } = &request;
        let by_account_text = by_account.to_string();
        let query = Query::new(&["QueryCampaignHistory", &request.name, first_day, last_day, &by_account_text]);
        let cursor = query.cursor(&request.page_token)?;
        let cursor = cursor.as_deref().map(|cursor| cursor.split_once('/').ok_or_else(bad_cursor)).transpose()?;
        // All pages end with the last day of the first page, even if the default, today, is another day by now.
        let (last_day, after) = cursor.map_or((last_day.as_str(), None), |(last, after)| (last, Some(after)));
        let (first, last) = wire::history_range(first_day, last_day, self.store.clock().now())?;
        let page = self.store.campaign_history(&name, (first, last), *by_account, after, limit + 1).await?;
        let cursor = |(place, _): &(String, _)| format!("{last}/{place}");
        let render = |(_, day)| wire::history_day(&name.workspace, day);
        let (days, next_page_token) = query.page(page.days, limit, cursor, render);
        Ok(pb::QueryCampaignHistoryResponse {
            as_of_time: Some(wire::timestamp(page.as_of)),
            days,
            corrections: page.corrections.map(|of| of.counts.into()),
            next_page_token,
        })
    }

    async fn account_history(
        &self,
        request: pb::QueryAccountHistoryRequest,
    ) -> Result<pb::QueryAccountHistoryResponse> {
        let name: AccountName = wire::parse("name", &request.name)?;
        let range = wire::history_range(&request.first_day, &request.last_day, self.store.clock().now())?;
        let (as_of, rows) = self.store.account_history(&name, range).await?;
        let (corrections, days) = wire::history(&name.workspace, rows);
        Ok(pb::QueryAccountHistoryResponse { as_of_time: Some(wire::timestamp(as_of)), days, corrections })
    }

    async fn campaign_accounts(
        &self,
        request: pb::ListCampaignAccountsRequest,
    ) -> Result<pb::ListCampaignAccountsResponse> {
        let campaign: CampaignName = wire::parse("parent", &request.parent)?;
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&["ListCampaignAccounts", &request.parent]);
        let cursor = query.cursor(&request.page_token)?;
        // The row without an account comes on top of the limit.
        let (as_of, mut accounts) = self.store.campaign_accounts(&campaign, cursor.as_deref(), limit + 1).await?;
        let unassigned = accounts.extract_if(.., |of| of.account.is_none()).next();
        let id = |of: &CampaignAccount| of.account.as_ref().map(ToString::to_string).unwrap_or_default();
        let render = |of| wire::campaign_account(&campaign.workspace, of);
        let (accounts, next_page_token) = query.page(accounts, limit, id, render);
        Ok(pb::ListCampaignAccountsResponse {
            as_of_time: Some(wire::timestamp(as_of)),
            accounts,
            unassigned: unassigned.map(render),
            next_page_token,
        })
    }

    async fn totals(&self, request: pb::GetWorkspaceTotalsRequest) -> Result<pb::WorkspaceTotals> {
        let WorkspaceName(workspace) = wire::parse("name", &request.name)?;
        let (as_of, totals) = self.store.workspace_totals(&workspace).await?;
        Ok(wire::workspace_totals(workspace, as_of, totals))
    }

    async fn diagnose(&self, request: pb::DiagnoseCampaignRequest) -> Result<pb::Diagnosis> {
        let name: CampaignName = wire::parse("name", &request.name)?;
        let (as_of, facts) = self.store.campaign_facts(&name).await?;
        Ok(wire::diagnosis(as_of, diagnose_campaign(&facts, as_of)))
    }

    async fn account_diagnose(&self, request: pb::DiagnoseAccountRequest) -> Result<pb::Diagnosis> {
        let name: AccountName = wire::parse("name", &request.name)?;
        let (as_of, facts) = self.store.account_facts(&name).await?;
        Ok(wire::diagnosis(as_of, diagnose_account(&facts, as_of)))
    }

    async fn compare(&self, request: pb::CompareCampaignsRequest) -> Result<pb::CampaignComparison> {
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        let campaigns = wire::compared_campaigns(&request.campaigns, &workspace)?;
        let age_days = wire::age_days(request.age_days)?;
        let (as_of, campaigns) = self.store.campaigns_compared(&workspace, &campaigns, age_days).await?;
        Ok(wire::comparison(as_of, comparison::compare(campaigns, age_days, as_of)))
    }
}

#[tonic::async_trait]
impl pb::performance_service_server::PerformanceService for Rpc {
    async fn query_campaign_history(
        &self,
        request: Request<pb::QueryCampaignHistoryRequest>,
    ) -> Result<Response<pb::QueryCampaignHistoryResponse>, Status> {
        Ok(Response::new(self.campaign_history(request.into_inner()).await?))
    }

    async fn query_account_history(
        &self,
        request: Request<pb::QueryAccountHistoryRequest>,
    ) -> Result<Response<pb::QueryAccountHistoryResponse>, Status> {
        Ok(Response::new(self.account_history(request.into_inner()).await?))
    }

    async fn list_campaign_accounts(
        &self,
        request: Request<pb::ListCampaignAccountsRequest>,
    ) -> Result<Response<pb::ListCampaignAccountsResponse>, Status> {
        Ok(Response::new(self.campaign_accounts(request.into_inner()).await?))
    }

    async fn get_workspace_totals(
        &self,
        request: Request<pb::GetWorkspaceTotalsRequest>,
    ) -> Result<Response<pb::WorkspaceTotals>, Status> {
        Ok(Response::new(self.totals(request.into_inner()).await?))
    }

    async fn diagnose_campaign(
        &self,
        request: Request<pb::DiagnoseCampaignRequest>,
    ) -> Result<Response<pb::Diagnosis>, Status> {
        Ok(Response::new(self.diagnose(request.into_inner()).await?))
    }

    async fn diagnose_account(
        &self,
        request: Request<pb::DiagnoseAccountRequest>,
    ) -> Result<Response<pb::Diagnosis>, Status> {
        Ok(Response::new(self.account_diagnose(request.into_inner()).await?))
    }

    async fn compare_campaigns(
        &self,
        request: Request<pb::CompareCampaignsRequest>,
    ) -> Result<Response<pb::CampaignComparison>, Status> {
        Ok(Response::new(self.compare(request.into_inner()).await?))
    }
}
