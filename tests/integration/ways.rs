//! The two ways in which a claim is served (docs/decisions/0011): in full, or by what was so a moment ago. Tests of what
//! limits claims run by both, and know by the service's own counter which way served.

use std::time::Duration;

use campaign_metrics::pb;

use crate::{
    harness::service::Service,
    world::{account_name, claim},
};

/// Longer than a claim in full is believed.
const FORGOTTEN: Duration = Duration::from_millis(1001);

/// How the claims of a test are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In full: nothing is known of the account.
    Full,
    /// By a guess: a claim in full came just before.
    Guess,
}

/// How many claims were answered, by way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    pub guess: i64,
    pub full: i64,
    pub undone: i64,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Full, Self::Guess];

    /// Has the account known where claims are to be guessed; what is due, and every limit, is as before.
    ///
    /// One lead was claimed and given back, so it is the account's from now on. The clock stands, so what is known holds.
    pub async fn warm(self, service: &Service, account: &str) {
        if self == Self::Full {
            return;
        }
        let granted = claim(service, account, 1).await.claims;
        assert_eq!(granted.len(), 1, "{account} can claim, so that a claim in full tells what is so");
        release(service, account, &granted).await;
    }

    /// Has all accounts forgotten where claims are to be served in full: the clock goes on a little.
    pub fn forget(self, service: &Service) {
        if self == Self::Full {
            service.clock.advance(FORGOTTEN);
        }
    }

    /// A claim that is served this way, if what was known still holds.
    pub async fn claim(self, service: &Service, account: &str, max_claims: i32) -> pb::ClaimSendsResponse {
        self.forget(service);
        claim(service, account, max_claims).await
    }

    /// Panics unless claims of the test began this way: all of them in full, or some with a guess.
    pub async fn assert_served(self, service: &Service) {
        let served = served(service).await;
        match self {
            Self::Full => {
                assert_eq!((served.guess, served.undone), (0, 0), "every claim is served in full: {served:?}");
            }
            Self::Guess => assert!(served.guess + served.undone > 0, "claims begin with a guess: {served:?}"),
        }
    }
}

/// Gives claims back at once.
pub async fn release(service: &Service, account: &str, claims: &[pb::Claim]) {
    if claims.is_empty() {
        return;
    }
    let request = pb::ReleaseClaimsRequest {
        account: account_name(account),
        claim_ids: claims.iter().map(|claim| claim.claim_id.clone()).collect(),
        not_before: None,
    };
    let released = service.sending.clone().release_claims(request).await.expect("they are given back").into_inner();
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
    Served { guess: of("guess"), full: of("full"), undone: of("undone") }
}
