//! The commands for claims.

use campaign_metrics::{pb, sending::CLAIMS_MAX};

use crate::{
    args::{Claims, ListClaims, ResolveClaims},
    call::PAGE,
    exit::Exit,
    failure::Failure,
    listing::Listing,
    target::Target,
};

/// Claims that are printed at once: as many as in a page.
const CLAIMS_PRINTED: usize = PAGE as usize;

/// Runs a command for claims.
pub async fn claims(target: &Target, command: Claims) -> anyhow::Result<Exit> {
    match command {
        Claims::List(command) => list(target, command).await,
        Claims::Resolve(command) => resolve(target, command).await,
    }
}

/// Lists the claims of accounts one after the other: of one, of those of a campaign, or of all.
async fn list(target: &Target, command: ListClaims) -> anyhow::Result<Exit> {
    let campaign = command.campaign.map(|campaign| target.campaign(campaign).to_string());
    let accounts = match (command.account, &campaign) {
        (Some(account), _) => vec![target.account(account)],
        (None, Some(campaign)) => accounts_of(target, campaign).await?,
        (None, None) => all_accounts(target).await?,
    };
    let state = command.state.map_or(pb::ClaimState::Unspecified, pb::ClaimState::from);
    let mut client = target.service.sending();
    let mut listing = Listing::new(target);
    // Accounts have few claims each. They are printed together, so that the columns of a table are as wide for all.
    let mut unprinted = Vec::new();
    for account in accounts {
        let mut request = pb::ListClaimsRequest {
            account,
            page_size: PAGE.cast_signed(),
            page_token: String::new(),
            state: state.into(),
        };
        loop {
            let page = target.service.call(request.clone(), async |request| client.list_claims(request).await).await?;
            let mut claims = page.claims;
            if let Some(campaign) = &campaign {
                claims.retain(|claim| claim.campaign == *campaign);
            }
            unprinted.append(&mut claims);
            if unprinted.len() >= CLAIMS_PRINTED {
                if !listing.page(&unprinted)? {
                    return Ok(Exit::Done);
                }
                unprinted.clear();
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
    }
    if listing.page(&unprinted)? {
        listing.end::<pb::Claim>("no such claim")?;
    }
    Ok(Exit::Done)
}

/// Returns the accounts that serve a campaign, or did and have leads in it.
async fn accounts_of(target: &Target, campaign: &str) -> Result<Vec<String>, Failure> {
    let whole = target.service.campaign_accounts(campaign.to_owned()).await?;
    Ok(whole.accounts.into_iter().map(|account| account.account).collect())
}

async fn all_accounts(target: &Target) -> Result<Vec<String>, Failure> {
    let accounts = target.service.list_accounts(target.parent()).await?;
    Ok(accounts.into_iter().map(|account| account.name).collect())
}

async fn resolve(target: &Target, command: ResolveClaims) -> anyhow::Result<Exit> {
    let mut client = target.service.sending();
    let account = target.account(command.account);
    let resolution = if command.sent { pb::Resolution::Sent } else { pb::Resolution::NotSent };
    let (mut resolved, mut others) = (0, Vec::new());
    for ids in command.claims.chunks(CLAIMS_MAX) {
        let resolution = |id: &String| pb::ClaimResolution { claim_id: id.clone(), resolution: resolution.into() };
        let request =
            pb::ResolveClaimsRequest { account: account.clone(), resolutions: ids.iter().map(resolution).collect() };
        let answer = target.service.call(request, async |request| client.resolve_claims(request).await).await?;
        resolved += answer.resolved_count;
        others.extend(answer.not_uncertain_claim_ids);
    }
    let report = serde_json::json!({ "resolvedCount": resolved, "notUncertainClaimIds": others });
    let cells = vec![("resolvedCount", resolved.to_string()), ("notUncertainClaimIds", others.join(";"))];
    target.report(&report, cells, || {
        let told = others.iter().map(|id| format!("\n{id} is not uncertain: nothing was changed"));
        format!("resolved {resolved} of {}{}", command.claims.len(), told.collect::<String>())
    })?;
    Ok(if others.is_empty() { Exit::Done } else { Exit::SomeRefused })
}
