//! Handlers of SendingService.

use std::{collections::HashSet, time::Duration};

use campaign_metrics::{
    invalid::Invalid,
    name::{AccountName, CampaignName},
    pb,
    sending::{CLAIMS_MAX, Claim, ClaimId},
    wire,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Messages, Rpc, batch_size,
    page::{Query, bad_cursor},
    request_id,
    unread::until_unread,
};
use crate::{
    error::{Error, Result},
    store::{ClaimRequest, Renewal, Resolution},
};

/// Longest time until a released step becomes due again.
const NOT_BEFORE_MAX: Duration = Duration::from_hours(365 * 24);

impl Rpc {
    async fn claim(&self, request: pb::ClaimSendsRequest) -> Result<pb::ClaimSendsResponse> {
        let request_key = request_id("ClaimSends", &request, |request| &mut request.request_id)?;
        let account: AccountName = wire::parse("account", &request.account)?;
        let campaign = match request.campaign.as_str() {
            "" => None,
            campaign => Some(wire::parse::<CampaignName>("campaign", campaign)?),
        };
        if campaign.as_ref().is_some_and(|campaign| campaign.workspace != account.workspace) {
            return Err(Invalid::new("campaign", "belongs to another workspace than `account`").into());
        }
        let max = usize::try_from(request.max_claims).unwrap_or(0);
        if !(1..=CLAIMS_MAX).contains(&max) {
            return Err(Invalid::new(
                "max_claims",
                format_args!("is {}, but must be from 1 to {CLAIMS_MAX}", request.max_claims),
            )
            .into());
        }
        let hold = wire::hold_duration(request.hold_duration)?;
        let ask = ClaimRequest {
            account: &account,
            campaign: campaign.as_ref(),
            max: request.max_claims.into(),
            hold,
            request: request_key.as_ref(),
        };
        let grant = self.store.claim_sends(ask).await?;
        let claimable_at = grant.blocked.iter().filter_map(|why| why.claimable_at).min();
        Ok(pb::ClaimSendsResponse {
            claims: grant.claims.into_iter().map(Into::into).collect(),
            not_sending: grant.blocked.into_iter().map(Into::into).collect(),
            next_change_time: claimable_at.map(wire::timestamp),
        })
    }

    async fn claims_page(&self, request: pb::ListClaimsRequest) -> Result<pb::ListClaimsResponse> {
        let account: AccountName = wire::parse("account", &request.account)?;
        let state = wire::parse_claim_state(request.state)?;
        let limit = wire::page_size(request.page_size)?;
        let query = Query::new(&["ListClaims", &request.account, &request.state.to_string()]);
        let after = query.cursor(&request.page_token)?.map(|cursor| {
            let mut parts = cursor.split('.');
            let mut number = || parts.next()?.parse().ok();
            let (campaign, lead, step) = (number()?, number()?, number()?);
            Some((campaign, lead, i16::try_from(step).ok()?))
        });
        let after = after.map(|after| after.ok_or_else(bad_cursor)).transpose()?;
        let claims = self.store.claim_list(&account, state, after, limit + 1).await?;
        let cursor = |last: &Claim| {
            let key = last.id.key;
            format!("{}.{}.{}", key.campaign_number, key.lead_number, key.step.number())
        };
        let (claims, next_page_token) = query.page(claims, limit, cursor, Into::into);
        Ok(pb::ListClaimsResponse { claims, next_page_token })
    }

    async fn renew(&self, request: pb::RenewClaimsRequest) -> Result<pb::RenewClaimsResponse> {
        let account: AccountName = wire::parse("account", &request.account)?;
        let ids = claim_ids(&request.claim_ids)?;
        let hold = wire::hold_duration(request.hold_duration)?;
        let renewals = self.store.claim_renew(&account, &ids, hold).await?;
        let results = request.claim_ids.into_iter().zip(renewals).map(|(claim_id, renewal)| {
            let (verdict, until) = match renewal {
                Renewal::Renewed(until) => (pb::RenewVerdict::Renewed, Some(wire::timestamp(until))),
                Renewal::Revoked => (pb::RenewVerdict::Revoked, None),
                Renewal::NotHeld => (pb::RenewVerdict::NotHeld, None),
            };
            pb::RenewResult { claim_id, verdict: verdict.into(), expire_time: until }
        });
        Ok(pb::RenewClaimsResponse { results: results.collect() })
    }

    async fn release(&self, mut request: pb::ReleaseClaimsRequest) -> Result<pb::ReleaseClaimsResponse> {
        let account: AccountName = wire::parse("account", &request.account)?;
        claim_ids(&request.claim_ids)?;
        let mut listed = HashSet::new();
        request.claim_ids.retain(|id| listed.insert(id.clone()));
        let ids = claim_ids(&request.claim_ids)?;
        let not_before = request.not_before.map(|time| wire::parse_timestamp("not_before", time)).transpose()?;
        let latest = self.store.clock().now().checked_add(NOT_BEFORE_MAX);
        if not_before.is_some_and(|time| latest.is_ok_and(|latest| time > latest)) {
            return Err(Invalid::new("not_before", "lies more than 365 days ahead").into());
        }
        let released = self.store.claim_release(&account, &ids, not_before).await?;
        let count = released.iter().filter(|released| **released).count();
        let not_held = request.claim_ids.into_iter().zip(released).filter(|(_, released)| !released).map(|(id, _)| id);
        Ok(pb::ReleaseClaimsResponse {
            released_count: i32::try_from(count).unwrap_or(i32::MAX),
            not_held_claim_ids: not_held.collect(),
        })
    }

    async fn resolve(&self, mut request: pb::ResolveClaimsRequest) -> Result<pb::ResolveClaimsResponse> {
        let account: AccountName = wire::parse("account", &request.account)?;
        batch_size("resolutions", request.resolutions.len(), CLAIMS_MAX)?;
        let mut resolutions = request.resolutions.iter().enumerate().map(resolution).collect::<Result<Vec<_>>>()?;
        let mut listed = HashSet::new();
        resolutions.retain(|(id, _)| listed.insert(*id));
        let mut listed = HashSet::new();
        request.resolutions.retain(|item| listed.insert(item.claim_id.clone()));
        let resolved = self.store.claim_resolve(&account, &resolutions).await?;
        let count = resolved.iter().filter(|resolved| **resolved).count();
        let not_uncertain = request.resolutions.into_iter().zip(resolved).filter(|(_, resolved)| !resolved);
        Ok(pb::ResolveClaimsResponse {
            resolved_count: i32::try_from(count).unwrap_or(i32::MAX),
            not_uncertain_claim_ids: not_uncertain.map(|(item, _)| item.claim_id).collect(),
        })
    }
}

fn resolution((index, item): (usize, &pb::ClaimResolution)) -> Result<(ClaimId, Resolution)> {
    let id = wire::parse(&format!("resolutions[{index}].claim_id"), &item.claim_id)?;
    let resolution = match item.resolution() {
        pb::Resolution::Sent => Resolution::Sent,
        pb::Resolution::NotSent => Resolution::NotSent,
        pb::Resolution::Unspecified => {
            return Err(Invalid::new(format!("resolutions[{index}].resolution"), "must be SENT or NOT_SENT").into());
        }
    };
    Ok((id, resolution))
}

fn claim_ids(ids: &[String]) -> Result<Vec<ClaimId>> {
    batch_size("claim_ids", ids.len(), CLAIMS_MAX)?;
    let parse = |(index, id): (usize, &String)| Ok(wire::parse(&format!("claim_ids[{index}]"), id)?);
    ids.iter().enumerate().map(parse).collect()
}

#[tonic::async_trait]
impl pb::sending_service_server::SendingService for Rpc {
    async fn claim_sends(
        &self,
        request: Request<pb::ClaimSendsRequest>,
    ) -> Result<Response<pb::ClaimSendsResponse>, Status> {
        Ok(Response::new(self.claim(request.into_inner()).await?))
    }

    async fn list_claims(
        &self,
        request: Request<pb::ListClaimsRequest>,
    ) -> Result<Response<pb::ListClaimsResponse>, Status> {
        Ok(Response::new(self.claims_page(request.into_inner()).await?))
    }

    async fn renew_claims(
        &self,
        request: Request<pb::RenewClaimsRequest>,
    ) -> Result<Response<pb::RenewClaimsResponse>, Status> {
        Ok(Response::new(self.renew(request.into_inner()).await?))
    }

    async fn release_claims(
        &self,
        request: Request<pb::ReleaseClaimsRequest>,
    ) -> Result<Response<pb::ReleaseClaimsResponse>, Status> {
        Ok(Response::new(self.release(request.into_inner()).await?))
    }

    async fn resolve_claims(
        &self,
        request: Request<pb::ResolveClaimsRequest>,
    ) -> Result<Response<pb::ResolveClaimsResponse>, Status> {
        Ok(Response::new(self.resolve(request.into_inner()).await?))
    }

    type StreamOutcomesStream = Messages<pb::StreamOutcomesResponse>;

    async fn stream_outcomes(
        &self,
        request: Request<Streaming<pb::StreamOutcomesRequest>>,
    ) -> Result<Response<Self::StreamOutcomesStream>, Status> {
        let caller = request.remote_addr();
        let full =
            |_| Error::Exhausted("this replica serves as many streams of outcomes as it can; close some of them");
        let room = self.report_streams.clone().try_acquire_owned().map_err(full)?;
        let answers = self.report_stream(request.into_inner(), caller, room);
        Ok(Response::new(until_unread(answers, self.stream_idle)))
    }

    async fn report_outcomes(
        &self,
        request: Request<pb::ReportOutcomesRequest>,
    ) -> Result<Response<pb::ReportOutcomesResponse>, Status> {
        let caller = request.remote_addr();
        Ok(Response::new(self.report(request.into_inner(), caller).await?))
    }
}
