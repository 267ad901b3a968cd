//! Handlers of OptOutService.

use campaign_metrics::{
    name::{LeadId, OptOutName, WorkspaceName},
    pb,
    sending::CLAIMS_MAX,
    wire,
};
use tonic::{Request, Response, Status};

use super::{Rpc, batch_size, page::Query};
use crate::{
    error::{Error, Result},
    store::OptOut,
};

impl Rpc {
    async fn opt_outs_page(&self, request: pb::ListOptOutsRequest) -> Result<pb::ListOptOutsResponse> {
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&["ListOptOuts", &request.parent]);
        let after = query.cursor(&request.page_token)?;
        let opt_outs = self.store.opt_out_list(&workspace, after.as_deref(), limit + 1).await?;
        let cursor = |last: &OptOut| last.name.lead.to_string();
        let (opt_outs, next_page_token) = query.page(opt_outs, limit, cursor, |opt_out| pb::OptOut {
            name: opt_out.name.to_string(),
            create_time: Some(wire::timestamp(opt_out.create_time)),
        });
        Ok(pb::ListOptOutsResponse { opt_outs, next_page_token })
    }

    async fn opt_outs_add(&self, request: pb::AddOptOutsRequest) -> Result<pb::AddOptOutsResponse> {
        let WorkspaceName(workspace) = wire::parse("parent", &request.parent)?;
        batch_size("lead_ids", request.lead_ids.len(), CLAIMS_MAX)?;
        let parse = |(place, id): (usize, &String)| Ok(wire::parse(&format!("lead_ids[{place}]"), id)?);
        let leads: Vec<LeadId> = request.lead_ids.iter().enumerate().map(parse).collect::<Result<_>>()?;
        let added = self.store.opt_out_add(&workspace, &leads).await?;
        Ok(pb::AddOptOutsResponse { added_count: i32::try_from(added).unwrap_or(i32::MAX) })
    }
}

#[tonic::async_trait]
impl pb::opt_out_service_server::OptOutService for Rpc {
    async fn list_opt_outs(
        &self,
        request: Request<pb::ListOptOutsRequest>,
    ) -> Result<Response<pb::ListOptOutsResponse>, Status> {
        Ok(Response::new(self.opt_outs_page(request.into_inner()).await?))
    }

    async fn add_opt_outs(
        &self,
        request: Request<pb::AddOptOutsRequest>,
    ) -> Result<Response<pb::AddOptOutsResponse>, Status> {
        Ok(Response::new(self.opt_outs_add(request.into_inner()).await?))
    }

    async fn delete_opt_out(
        &self,
        request: Request<pb::DeleteOptOutRequest>,
    ) -> Result<Response<pb::DeleteOptOutResponse>, Status> {
        let name: OptOutName = wire::parse("name", &request.into_inner().name).map_err(Error::from)?;
        self.store.opt_out_delete(&name).await?;
        Ok(Response::new(pb::DeleteOptOutResponse {}))
    }
}
