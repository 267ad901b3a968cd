//! Reading an admin port.

use std::time::Duration;

use anyhow::Result;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// An admin port answers at once, or something is wrong.
const LIMIT: Duration = Duration::from_secs(10);

/// Status and body of a plain GET.
pub async fn get(url: &str) -> Result<(u16, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&'static [u8]>>();
    tokio::time::timeout(LIMIT, async {
        let response = client.get(url.parse()?).await?;
        let status = response.status().as_u16();
        let mut stream = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = stream.frame().await {
            body.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
        }
        Ok((status, String::from_utf8(body)?))
    })
    .await?
}
