//! Page tokens: a cursor that is bound to its query. They are opaque to callers.

use campaign_metrics::invalid::Invalid;
use prost::Message;
use sha2::{Digest as _, Sha256};

/// Most bytes of the items of a page: clients take 4 MiB by default, and the rest of the response needs little.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// Most bytes of the field number and the length that an item has in its response.
const ITEM_BYTES: usize = 6;

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

    /// Renders a page of items, which were read with one more than requested: as many as fit into [`PAGE_BYTES_MAX`], but
    /// at least one. Returns the page and the token of the next one, which is empty if no item is left.
    pub fn page<T, M: Message>(
        &self,
        items: Vec<T>,
        limit: i64,
        cursor: impl Fn(&T) -> String,
        render: impl Fn(T) -> M,
    ) -> (Vec<M>, String) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut page, mut bytes, mut last) = (Vec::with_capacity(items.len().min(limit)), 0, String::new());
        for item in items {
            let next = cursor(&item);
            let message = render(item);
            bytes += ITEM_BYTES + message.encoded_len();
            if page.len() == limit || (bytes > PAGE_BYTES_MAX && !page.is_empty()) {
                return (page, self.token(&last));
            }
            page.push(message);
            last = next;
        }
        (page, String::new())
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
        let page = |count: i32| query.page((0..count).collect(), 2, i32::to_string, |item| item);
        for count in 0..=2 {
            assert_eq!(page(count), ((0..count).collect(), String::new()), "all {count} fit");
        }
        let (items, token) = page(3);
        assert_eq!((items, query.cursor(&token).unwrap().as_deref()), (vec![0, 1], Some("1")));
    }

    #[test]
    fn a_page_ends_where_its_bytes_end_and_has_one_item_at_least() {
        let query = Query::new(&["ListCampaigns", "workspaces/a"]);
        let large = |mib: usize| "x".repeat(mib << 20);
        for (sizes, fit) in [(&[1, 1, 1, 1][..], 2), (&[5, 1], 1), (&[1, 5], 1), (&[5], 1), (&[1, 1], 2)] {
            let items: Vec<(usize, usize)> = (1..).zip(sizes.iter().copied()).collect();
            let (page, token) = query.page(items, 100, |(place, _)| place.to_string(), |(_, mib)| large(mib));
            let shown: Vec<usize> = page.iter().map(|text| text.len() >> 20).collect();
            assert_eq!(shown, sizes[..fit]);
            let next = (fit < sizes.len()).then(|| fit.to_string());
            assert_eq!(query.cursor(&token).unwrap(), next, "{sizes:?}");
        }
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
