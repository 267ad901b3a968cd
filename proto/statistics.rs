//! Statistics: what counts say, and what they don't say yet.
//!
//! | question | function | method |
//! |---|---|---|
//! | How precise is a rate, or a difference of two? | [`wilson`], [`newcombe`] | Wilson 1927; Newcombe 1998, method 10 |
//! | Is a health certain? | [`is_certain`] | Wilson's interval inside the band |
//! | Which campaign is better, asked every day? | [`compare`] | mixture test, stratified by day |
//! | Was the split between variants as intended? | [`check_split`] | the same mixture over assignments |
//! | Is an account the cause of failures? | [`test_accounts`] | Fisher's exact test; Benjamini-Hochberg |
//! | Since when, or from which volume on? | [`find_change`], [`find_change_along`] | likelihood ratio over all days; Worsley 1983 |
//!
//! Every function takes sums by day or by account. None reads a lead, a clock or a random number. Every result is a
//! number or absent: a rate of nothing is `None`, never NaN. `reference.json` holds the values that tests compare with,
//! `reference.py` the calls of scipy, statsmodels and mpmath that made them.

mod blame;
mod change;
mod comparison;
mod counts;
mod hermite;
mod hypergeometric;
mod interval;
mod mixture;
#[cfg(test)]
mod reference;
mod saddle_point;
mod split;

pub use blame::{FALSE_DISCOVERY_RATE, TestedAccount, fisher, test_accounts};
pub use change::{Change, find_change, find_change_along};
pub use comparison::{Comparison, FALSE_LEADER, Needed, Pair, Verdict, compare, compare_by_failures, ln_e};
pub use counts::{Days, MESSAGES_MIN};
pub use interval::{Difference, Interval, is_certain, newcombe, stratified_difference, wilson};
pub use split::{AssignedVariant, FALSE_WARNING, check_split};
