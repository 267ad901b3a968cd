//! The two ways of granting a claim (docs/decisions/0011): in full, or optimistically by what the previous claim found.
//! Tests of limits run both, and check by the service's counter which way was used.

use std::time::Duration;

use campaign_metrics::pb;

use crate::{
    harness::service::Service,
    world::{account_name, claim},
};

/// The age at which knowledge of an account expires.
const FORGOTTEN: Duration = Duration::from_millis(1001);

/// How the claims of a test are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In full: nothing is known of the account.
    Full,
    /// Optimistically: a claim in full came just before.
    Optimistic,
}

/// How many claims were answered, by way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    pub optimistic: i64,
    pub full: i64,
    pub undone: i64,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Full, Self::Optimistic];

    /// Prepares optimistic grants for an account. Due steps and limits stay as they were.
    ///
    /// One lead is claimed and released, so it is assigned to the account from now on. The clock is stopped, so the
    /// knowledge does not expire.
    pub async fn warm(self, service: &Service, account: &str) {
        if self == Self::Full {
            return;
        }
        let granted = claim(service, account, 1).await.claims;
        assert_eq!(granted.len(), 1, "{account} can claim, so that a claim in full tells what is so");
        release(service, account, &granted).await;
    }

    /// Lets the knowledge of all accounts expire for claims in full, by moving the clock a little.
    pub fn forget(self, service: &Service) {
        if self == Self::Full {
            service.clock.advance(FORGOTTEN);
        }
    }

    /// Claims this way, provided that the knowledge still holds.
    pub async fn claim(self, service: &Service, account: &str, max_claims: i32) -> pb::ClaimSendsResponse {
        self.forget(service);
        claim(service, account, max_claims).await
    }

    /// Panics unless the claims of the test began this way: all in full, or some optimistically.
    pub async fn assert_served(self, service: &Service) {
        let served = served(service).await;
        match self {
            Self::Full => {
                assert_eq!((served.optimistic, served.undone), (0, 0), "every claim is served in full: {served:?}");
            }
            Self::Optimistic => {
                assert!(served.optimistic + served.undone > 0, "some claims begin optimistically: {served:?}");
            }
        }
    }
}

/// Releases claims, due at once.
pub async fn release(service: &Service, account: &str, claims: &[pb::Claim]) {
    if claims.is_empty() {
        return;
    }
    let request = pb::ReleaseClaimsRequest {
        account: account_name(account),
        claim_ids: claims.iter().map(|claim| claim.claim_id.clone()).collect(),
        not_before: None,
    };
    let released = service.sending.clone().release_claims(request).await.expect("they are released").into_inner();
    assert_eq!(usize::try_from(released.released_count), Ok(claims.len()), "all of them were held");
}

/// The service's counter of claims, by way.
pub async fn served(service: &Service) -> Served {
    let page = service.admin("/metrics").await;
    let of = |way: &str| {
        let name = format!("campaign_metrics_claim_calls_total{{way=\"{way}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&name));
        // Absent before the first.
        value.map_or(0, |value| value.parse().expect("a whole number"))
    };
    Served { optimistic: of("guess"), full: of("full"), undone: of("undone") }
}
