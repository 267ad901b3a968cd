//! Handlers of AccountService.

use campaign_metrics::{
    account::AccountState,
    name::{AccountName, WorkspaceName},
    pb, wire,
};
use tonic::{Request, Response, Status};

use super::{Rpc, page::Query, request_id};
use crate::{
    error::{Error, Result},
    store::NewAccount,
};

impl Rpc {
    async fn account_create(&self, request: pb::CreateAccountRequest) -> Result<pb::Account> {
        let request_key = request_id("CreateAccount", &request, |request| &mut request.request_id)?;
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        let account = wire::parse("account_id", &request.account_id)?;
        let settings = wire::account_settings(&request.account.unwrap_or_default())?;
        let name = AccountName { workspace, account };
        let new = NewAccount { name: &name, settings: &settings, request: request_key.as_ref() };
        Ok(self.store.account_create(new).await?.into())
    }

    async fn account_list(&self, request: pb::ListAccountsRequest) -> Result<pb::ListAccountsResponse> {
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&["ListAccounts", &request.parent]);
        let cursor = query.cursor(&request.page_token)?;
        let accounts = self.store.account_list(&workspace, cursor.as_deref(), limit + 1).await?;
        let (accounts, next_page_token) = query.page(accounts, limit, |last| last.name.account.to_string(), Into::into);
        Ok(pb::ListAccountsResponse { accounts, next_page_token })
    }

    async fn account_update(&self, request: pb::UpdateAccountRequest) -> Result<pb::Account> {
        let account = wire::required("account", request.account)?;
        let name = wire::parse("account.name", &account.name)?;
        let fields = wire::account_fields(&account, request.update_mask.as_ref())?;
        let settings = wire::account_settings(&account)?;
        let etag = wire::parse_etag(&account.etag)?;
        Ok(self.store.account_update(&name, &settings, &fields, etag).await?.into())
    }

    async fn account_set_state(
        &self,
        name: &str,
        etag: &str,
        to: AccountState,
    ) -> Result<Response<pb::Account>, Status> {
        let name = wire::parse("name", name).map_err(Error::from)?;
        let etag = wire::parse_etag(etag).map_err(Error::from)?;
        Ok(Response::new(self.store.account_set_state(&name, to, etag).await?.into()))
    }
}

#[tonic::async_trait]
impl pb::account_service_server::AccountService for Rpc {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        Ok(Response::new(self.account_create(request.into_inner()).await?))
    }

    async fn get_account(&self, request: Request<pb::GetAccountRequest>) -> Result<Response<pb::Account>, Status> {
        let name = wire::parse("name", &request.into_inner().name).map_err(Error::from)?;
        Ok(Response::new(self.store.account_get(&name).await?.into()))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        Ok(Response::new(self.account_list(request.into_inner()).await?))
    }

    async fn update_account(
        &self,
        request: Request<pb::UpdateAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        Ok(Response::new(self.account_update(request.into_inner()).await?))
    }

    async fn delete_account(&self, request: Request<pb::DeleteAccountRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let name: AccountName = wire::parse("name", &request.name).map_err(Error::from)?;
        let etag = wire::parse_etag(&request.etag).map_err(Error::from)?;
        Ok(Response::new(self.store.account_delete(&name, etag).await?))
    }

    async fn suspend_account(
        &self,
        request: Request<pb::SuspendAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let request = request.into_inner();
        self.account_set_state(&request.name, &request.etag, AccountState::Suspended).await
    }

    async fn reinstate_account(
        &self,
        request: Request<pb::ReinstateAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let request = request.into_inner();
        self.account_set_state(&request.name, &request.etag, AccountState::Active).await
    }
}
