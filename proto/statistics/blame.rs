//! Whether accounts are the cause of a failure: each against all others of its campaign.
//!
//! An account is tested from 20 messages on. It is blamed if Fisher's exact test rejects at a false discovery rate of 5 %
//! over all tested accounts, and its share of failures is at least 1.5 times that of the others. A campaign with 1000
//! healthy accounts then blames any of them with a probability of at most 5 %.

use super::{
    counts::{MESSAGES_MIN, number_of, total},
    hypergeometric::upper_tail,
};
use crate::rate::Rate;

/// Upper bound of the expected share of wrongly blamed accounts among the blamed.
pub const FALSE_DISCOVERY_RATE: f64 = 0.05;

/// An account that was tested against the others of its campaign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestedAccount {
    /// Its position in the list that was given.
    pub account: usize,
    /// Failures of all its messages.
    pub own: Rate,
    /// Failures of all messages of the other accounts.
    pub others: Rate,
    /// Probability of so many failures or more, were it like the others; 0 to 1.
    pub p_value: f64,
    /// The false discovery rate at which the test still rejects (Benjamini and Hochberg's adjusted p-value); 0 to 1.
    pub adjusted_p_value: f64,
    /// Whether the account is blamed.
    pub is_blamed: bool,
}

/// Tests accounts, given as failures of messages, one by one against the rest; the most suspicious first.
///
/// The failures can be all or those of one reason. Accounts with fewer than [`MESSAGES_MIN`] messages count among the
/// others and are not tested. An account without others is not tested either.
///
/// Source: Benjamini and Hochberg 1995, J R Stat Soc B 57:289.
pub fn test_accounts(accounts: &[Rate]) -> Vec<TestedAccount> {
    let all = total(accounts.iter().copied());
    let mut tested: Vec<_> = (0..)
        .zip(accounts)
        .filter_map(|(account, &own)| {
            let own = total([own]);
            let others =
                Rate { numerator: all.numerator - own.numerator, denominator: all.denominator - own.denominator };
            (own.denominator >= MESSAGES_MIN && others.denominator > 0).then(|| TestedAccount {
                account,
                own,
                others,
                p_value: fisher(own, others),
                adjusted_p_value: 1.0,
                is_blamed: false,
            })
        })
        .collect();
    tested.sort_by(|a, b| a.p_value.total_cmp(&b.p_value).then(a.account.cmp(&b.account)));
    let mut adjusted = 1.0_f64;
    let count = number_of(tested.len());
    for (rank, account) in tested.iter_mut().enumerate().rev() {
        adjusted = adjusted.min(account.p_value * count / number_of(rank + 1));
        account.adjusted_p_value = adjusted;
        account.is_blamed = adjusted <= FALSE_DISCOVERY_RATE && is_much_worse(account.own, account.others);
    }
    tested
}

/// Fisher's exact test, one-sided: the probability that `own` has so many failures or more, given the sums of both.
///
/// 1 where a denominator is 0. Source: Fisher 1935.
pub fn fisher(own: Rate, others: Rate) -> f64 {
    let all = total([own, others]);
    let own = total([own]);
    upper_tail(own.numerator, all.numerator, own.denominator, all.denominator)
}

/// Whether the share of failures is at least 1.5 times that of the others; in whole numbers, so that 1.5 is exact.
fn is_much_worse(own: Rate, others: Rate) -> bool {
    let product = |a: i64, b: i64| i128::from(a) * i128::from(b);
    own.numerator > 0
        && 2 * product(own.numerator, others.denominator) >= 3 * product(others.numerator, own.denominator)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the edges are exact")]
mod tests {
    use super::*;

    fn rate(numerator: i64, denominator: i64) -> Rate {
        Rate { numerator, denominator }
    }

    #[test]
    fn the_one_bad_account_is_blamed_and_comes_first() {
        let tested = test_accounts(&[rate(2, 100), rate(3, 100), rate(40, 100), rate(1, 100)]);
        assert_eq!(tested.iter().map(|account| account.account).collect::<Vec<_>>()[0], 2);
        assert_eq!(tested.iter().map(|account| account.is_blamed).collect::<Vec<_>>(), [true, false, false, false]);
        assert_eq!((tested[0].own, tested[0].others), (rate(40, 100), rate(6, 300)));
    }

    #[test]
    fn an_account_is_tested_from_20_messages_on_and_needs_others() {
        assert!(test_accounts(&[rate(19, 19), rate(0, 10)]).is_empty());
        assert_eq!(test_accounts(&[rate(20, 20), rate(0, 10)]).len(), 1);
        assert!(test_accounts(&[rate(20, 20)]).is_empty());
        assert!(test_accounts(&[rate(20, 20), rate(0, 0)]).is_empty());
        assert!(test_accounts(&[]).is_empty());
    }

    #[test]
    fn only_a_share_of_one_and_a_half_times_the_others_is_blamed() {
        let is_blamed = |own| test_accounts(&[rate(own, 1_000_000), rate(100_000, 1_000_000)])[0].is_blamed;
        assert!(is_blamed(150_000));
        assert!(!is_blamed(149_999));
    }

    #[test]
    fn where_everything_failed_nobody_is_to_blame() {
        let tested = test_accounts(&[rate(50, 50), rate(70, 70)]);
        assert!(tested.iter().all(|account| account.p_value == 1.0 && !account.is_blamed));
        let none = test_accounts(&[rate(0, 50), rate(0, 70)]);
        assert!(none.iter().all(|account| account.p_value == 1.0 && !account.is_blamed));
    }

    #[test]
    fn the_exact_test_gives_numbers_at_every_edge() {
        assert_eq!(fisher(rate(0, 0), rate(0, 0)), 1.0);
        assert_eq!(fisher(rate(3, 5), rate(0, 0)), 1.0);
        assert_eq!(fisher(rate(0, 0), rate(3, 5)), 1.0);
        assert_eq!(fisher(rate(1_000_000_000, 1_000_000_000), rate(0, 1_000_000_000)), 0.0);
        let even = fisher(rate(500_000_000, 1_000_000_000), rate(500_000_000, 1_000_000_000));
        assert!(even > 0.5 && even < 0.51, "{even}");
    }
}
