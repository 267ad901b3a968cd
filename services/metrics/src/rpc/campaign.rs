//! Handlers of CampaignService.

use campaign_metrics::{
    VERSION_HEADER,
    campaign::{Campaign, CampaignState},
    invalid::Invalid,
    name::{AccountName, CampaignName, WorkspaceId, WorkspaceName},
    pb, wire,
};
use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::{
    Messages, Rpc,
    page::{Query, bad_cursor},
    request_id,
    unread::until_unread,
    watch::watch,
};
use crate::{
    error::{Error, Result},
    store::{Actor, NewCampaign},
    telemetry::VERSION,
};

/// Parses a parent of campaigns; `None` means all workspaces.
pub(super) fn parent(text: &str) -> Result<Option<WorkspaceId>> {
    if text == "workspaces/-" {
        return Ok(None);
    }
    Ok(Some(wire::parse::<WorkspaceName>("parent", text)?.0))
}

impl Rpc {
    async fn create(&self, request: pb::CreateCampaignRequest) -> Result<pb::Campaign> {
        let request_key = request_id("CreateCampaign", &request, |request| &mut request.request_id)?;
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        let campaign = wire::parse("campaign_id", &request.campaign_id)?;
        let settings = wire::campaign_settings(&wire::required("campaign", request.campaign)?, &workspace)?;
        let name = CampaignName { workspace, campaign };
        let new = NewCampaign { name: &name, settings: &settings, request: request_key.as_ref() };
        Ok(self.store.campaign_create(new).await?.into())
    }

    async fn list(&self, request: pb::ListCampaignsRequest) -> Result<pb::ListCampaignsResponse> {
        let workspace = parent(&request.parent)?;
        let state = wire::parse_campaign_state("state", request.state)?;
        let account = match request.account.as_str() {
            "" => None,
            account => Some(wire::parse::<AccountName>("account", account)?),
        };
        let is_of = |workspace: &WorkspaceId| account.as_ref().is_none_or(|account| account.workspace == *workspace);
        if !workspace.as_ref().is_none_or(is_of) {
            return Err(Invalid::new("account", "belongs to another workspace than `parent`").into());
        }
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&["ListCampaigns", &request.parent, &request.state.to_string(), &request.account]);
        let cursor = query.cursor(&request.page_token)?;
        let after = cursor.as_deref().map(|cursor| cursor.split_once('/').ok_or_else(bad_cursor)).transpose()?;
        let campaigns = self.store.campaign_list(workspace.as_ref(), state, account.as_ref(), after, limit + 1).await?;
        let cursor = |last: &Campaign| format!("{}/{}", last.name.workspace, last.name.campaign);
        let (campaigns, next_page_token) = query.page(campaigns, limit, cursor, Into::into);
        Ok(pb::ListCampaignsResponse { campaigns, next_page_token })
    }

    async fn update(&self, request: pb::UpdateCampaignRequest) -> Result<pb::Campaign> {
        let campaign = wire::required("campaign", request.campaign)?;
        let name: CampaignName = wire::parse("campaign.name", &campaign.name)?;
        let fields = wire::campaign_fields(&campaign, request.update_mask.as_ref())?;
        let settings = wire::campaign_settings(&campaign, &name.workspace)?;
        let etag = wire::parse_etag(&campaign.etag)?;
        let steps = (campaign.steps != 0).then_some(settings.steps);
        Ok(self.store.campaign_update(&name, &settings, &fields, steps, etag).await?.into())
    }

    async fn finish(&self, request: pb::FinishCampaignRequest) -> Result<pb::Campaign> {
        let name = wire::parse("name", &request.name)?;
        let etag = wire::parse_etag(&request.etag)?;
        Ok(self.store.campaign_set_state(&name, CampaignState::Finished, etag, Actor::Client).await?.into())
    }

    async fn pause(&self, request: pb::PauseCampaignRequest) -> Result<pb::Campaign> {
        let name = wire::parse("name", &request.name)?;
        let etag = wire::parse_etag(&request.etag)?;
        let reason = wire::hold_reason(&request.reason)?;
        let actor = match (request.r#override, request.owner_uid.as_str()) {
            (true, "") => return Ok(self.store.campaign_hold(&name, etag, reason).await?.into()),
            (true, _) => return Err(Invalid::new("owner_uid", "does not go with override; leave one out").into()),
            (false, _) if !reason.is_empty() => return Err(Invalid::new("reason", "goes only with override").into()),
            (false, "") => Actor::Client,
            (false, uid) => Actor::Owner(uid),
        };
        Ok(self.store.campaign_set_state(&name, CampaignState::Paused, etag, actor).await?.into())
    }

    async fn resume(&self, request: pb::ResumeCampaignRequest) -> Result<pb::Campaign> {
        let name = wire::parse("name", &request.name)?;
        let etag = wire::parse_etag(&request.etag)?;
        let campaign = if request.r#override {
            self.store.campaign_lift(&name, etag).await?
        } else {
            self.store.campaign_set_state(&name, CampaignState::Active, etag, Actor::Client).await?
        };
        Ok(campaign.into())
    }

    async fn delete(&self, request: pb::DeleteCampaignRequest) -> Result<()> {
        let name = wire::parse("name", &request.name)?;
        let etag = wire::parse_etag(&request.etag)?;
        let actor = match request.owner_uid.as_str() {
            "" => Actor::Client,
            uid => Actor::Owner(uid),
        };
        self.store.campaign_delete(&name, etag, request.force, actor).await
    }

    async fn apply(&self, request: pb::ApplyCampaignRequest) -> Result<pb::Campaign> {
        let campaign = wire::required("campaign", request.campaign)?;
        let name: CampaignName = wire::parse("campaign.name", &campaign.name)?;
        let settings = wire::campaign_settings(&campaign, &name.workspace)?;
        let state = wire::parse_campaign_state("state", request.state)?.unwrap_or(CampaignState::Active);
        let owner = wire::parse_owner(request.owner)?;
        let adoption = wire::adoption_policy(request.adoption_policy)?;
        let edit_time = request.edit_time.map(|time| wire::parse_timestamp("edit_time", time)).transpose()?;
        Ok(self.store.campaign_apply(&name, &settings, state, &owner, adoption, edit_time).await?.into())
    }
}

#[tonic::async_trait]
impl pb::campaign_service_server::CampaignService for Rpc {
    async fn create_campaign(
        &self,
        request: Request<pb::CreateCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        Ok(Response::new(self.create(request.into_inner()).await?))
    }

    async fn get_campaign(&self, request: Request<pb::GetCampaignRequest>) -> Result<Response<pb::Campaign>, Status> {
        let name = wire::parse("name", &request.into_inner().name).map_err(Error::from)?;
        Ok(Response::new(self.store.campaign_get(&name).await?.into()))
    }

    async fn list_campaigns(
        &self,
        request: Request<pb::ListCampaignsRequest>,
    ) -> Result<Response<pb::ListCampaignsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn update_campaign(
        &self,
        request: Request<pb::UpdateCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        Ok(Response::new(self.update(request.into_inner()).await?))
    }

    async fn delete_campaign(&self, request: Request<pb::DeleteCampaignRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(self.delete(request.into_inner()).await?))
    }

    async fn pause_campaign(
        &self,
        request: Request<pb::PauseCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        Ok(Response::new(self.pause(request.into_inner()).await?))
    }

    async fn resume_campaign(
        &self,
        request: Request<pb::ResumeCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        Ok(Response::new(self.resume(request.into_inner()).await?))
    }

    async fn finish_campaign(
        &self,
        request: Request<pb::FinishCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        Ok(Response::new(self.finish(request.into_inner()).await?))
    }

    async fn apply_campaign(
        &self,
        request: Request<pb::ApplyCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        Ok(Response::new(self.apply(request.into_inner()).await?))
    }

    async fn orphan_campaign(
        &self,
        request: Request<pb::OrphanCampaignRequest>,
    ) -> Result<Response<pb::Campaign>, Status> {
        let request = request.into_inner();
        let name = wire::parse("name", &request.name).map_err(Error::from)?;
        if request.owner_uid.is_empty() {
            return Err(Error::from(Invalid::new("owner_uid", "is required")).into());
        }
        Ok(Response::new(self.store.campaign_orphan(&name, &request.owner_uid, request.pause).await?.into()))
    }

    type WatchCampaignsStream = Messages<pb::WatchCampaignsResponse>;

    async fn watch_campaigns(
        &self,
        request: Request<pb::WatchCampaignsRequest>,
    ) -> Result<Response<Self::WatchCampaignsStream>, Status> {
        let request = request.into_inner();
        let workspace = parent(&request.parent)?;
        let interval = wire::watch_interval(request.min_interval).map_err(Error::from)?;
        let full = |_| Error::Exhausted("this replica serves as many watches as it can; close some of them");
        let room = self.watches.clone().try_acquire_owned().map_err(full)?;
        let open = (self.telemetry.watch_started(), room);
        let changes = watch(&self.looks, workspace, interval, self.shutdown.clone(), open);
        let mut response = Response::new(until_unread(changes, self.stream_idle));
        response.metadata_mut().insert(VERSION_HEADER, MetadataValue::from_static(VERSION));
        Ok(response)
    }
}
