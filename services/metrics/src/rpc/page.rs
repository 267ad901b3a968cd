//! Page tokens: a cursor that is bound to its query. They are opaque to callers.

use campaign_metrics::invalid::Invalid;
use sha2::{Digest as _, Sha256};

/// The digest of a query, without the parts that may change between its pages.
pub struct Query(u64);

impl Query {
    /// Digests the parts of a query that must stay the same: method, parent, filters.
    pub fn new(parts: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        Self(digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Returns the token of the page after `cursor`.
    pub fn token(&self, cursor: &str) -> String {
        let mut token = format!("{:016x}", self.0);
        for byte in cursor.bytes() {
            token.push(char::from_digit((byte >> 4).into(), 16).unwrap_or('0'));
            token.push(char::from_digit((byte & 15).into(), 16).unwrap_or('0'));
        }
        token
    }

    /// Truncates a page that was read with one row more than requested. If that row exists, there is a next page.
    /// Returns the page and the token of the next one, which is empty for the last page.
    pub fn page<T>(&self, mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let token = last.map(|last| self.token(&cursor(last))).unwrap_or_default();
        (items, token)
    }

    /// Returns the cursor of a token; `None` for the first page.
    pub fn cursor(&self, token: &str) -> Result<Option<String>, Invalid> {
        if token.is_empty() {
            return Ok(None);
        }
        let cursor = token.strip_prefix(&format!("{:016x}", self.0)).and_then(|hex| {
            let digits =
                hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()
        });
        cursor.map(Some).ok_or_else(|| {
            Invalid::new(
                "page_token",
                "is not one of this query; send all else as for the first page, or start anew without it",
            )
        })
    }
}

/// Returns the error for a token of another query.
pub fn bad_cursor() -> Invalid {
    Invalid::new("page_token", "is damaged; start anew without it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_with_more_after_it_has_a_token() {
        let query = Query::new(&["ListCampaigns", "workspaces/a"]);
        let page = |count: i32| query.page((0..count).collect(), 2, i32::to_string);
        for count in 0..=2 {
            assert_eq!(page(count), ((0..count).collect(), String::new()), "all {count} fit");
        }
        let (items, token) = page(3);
        assert_eq!((items, query.cursor(&token).unwrap().as_deref()), (vec![0, 1], Some("1")));
    }

    #[test]
    fn a_token_serves_only_its_query() {
        let query = Query::new(&["ListCampaigns", "workspaces/a"]);
        let token = query.token("spring é");
        assert_eq!(query.cursor(&token).unwrap().as_deref(), Some("spring é"));
        assert_eq!(query.cursor("").unwrap(), None);
        assert!(Query::new(&["ListCampaigns", "workspaces/b"]).cursor(&token).is_err());
        assert!(Query::new(&["ListCampaignsw", "orkspaces/a"]).cursor(&token).is_err());
        for bad in ["x", "zz", &token[..token.len() - 1], "\0", &format!("{token}ff")] {
            assert!(query.cursor(bad).is_err(), "{bad}");
        }
    }
}
