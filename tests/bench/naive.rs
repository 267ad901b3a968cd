//! The naive baseline: the same contract for one outcome, with one row and one transaction for each call.

use std::net::SocketAddr;

use anyhow::Result;
use deadpool_postgres::{Manager, Pool, Runtime};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_postgres::NoTls;
use tonic::{
    Request, Response, Status,
    server::NamedService,
    transport::{Server, server::TcpIncoming},
};

use crate::stage::Database;

mod wire {
    pub use campaign_metrics::pb::{OutcomeResult, OutcomeVerdict, ReportOutcomesRequest, ReportOutcomesResponse};
}

/// Serves ReportOutcomes alone.
#[derive(Clone)]
struct Naive {
    pool: Pool,
}

const TABLES: &str = "
    CREATE TABLE naive_leads (campaign int4, lead int4, status text NOT NULL DEFAULT 'pending', PRIMARY KEY (campaign, lead));
    CREATE TABLE naive_outcomes (campaign int4, lead int4, kind int4, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (campaign, lead, kind));
    CREATE TABLE naive_counters (campaign int4 PRIMARY KEY, pending int8 NOT NULL, sent int8 NOT NULL, failed int8 NOT NULL);
    INSERT INTO naive_leads (campaign, lead) SELECT campaign_id, lead_no FROM leads;
    INSERT INTO naive_counters SELECT campaign, count(*), 0, 0 FROM naive_leads GROUP BY campaign;";

impl Naive {
    async fn report(&self, request: wire::ReportOutcomesRequest) -> Result<wire::ReportOutcomesResponse> {
        let mut results = Vec::new();
        for outcome in request.outcomes {
            let mut parts = outcome.send_key.split('-').skip(1);
            let mut number = || parts.next().and_then(|part| part.parse::<i32>().ok()).unwrap_or(0);
            let (campaign, lead) = (number(), number());
            let mut client = self.pool.get().await?;
            let txn = client.transaction().await?;
            let log = "INSERT INTO naive_outcomes (campaign, lead, kind) SELECT campaign, lead, $3 FROM naive_leads
                WHERE campaign = $1 AND lead = $2 ON CONFLICT DO NOTHING";
            let log = txn.prepare_cached(log).await?;
            let is_new = txn.execute(&log, &[&campaign, &lead, &outcome.kind]).await? == 1;
            if is_new {
                let delivered = outcome.kind == 1;
                let lead_row = "UPDATE naive_leads SET status = $3 WHERE campaign = $1 AND lead = $2";
                let lead_row = txn.prepare_cached(lead_row).await?;
                let status = if delivered { "sent" } else { "failed" };
                txn.execute(&lead_row, &[&campaign, &lead, &status]).await?;
                let counter = "UPDATE naive_counters SET pending = pending - 1, sent = sent + $2, failed = failed + $3
                    WHERE campaign = $1";
                let counter = txn.prepare_cached(counter).await?;
                txn.execute(&counter, &[&campaign, &i64::from(delivered), &i64::from(!delivered)]).await?;
            }
            txn.commit().await?;
            let verdict = if is_new { wire::OutcomeVerdict::Applied } else { wire::OutcomeVerdict::Rejected };
            results.push(wire::OutcomeResult { verdict: verdict.into(), ..Default::default() });
        }
        Ok(wire::ReportOutcomesResponse { results })
    }
}

impl NamedService for Naive {
    const NAME: &'static str = "campaign_metrics.v1.SendingService";
}

impl tower::Service<http::Request<tonic::body::Body>> for Naive {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        struct Report(Naive);
        impl tonic::server::UnaryService<wire::ReportOutcomesRequest> for Report {
            type Response = wire::ReportOutcomesResponse;
            type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Self::Response>, Status>> + Send>>;

            fn call(&mut self, request: Request<wire::ReportOutcomesRequest>) -> Self::Future {
                let naive = self.0.clone();
                Box::pin(async move {
                    let response = naive.report(request.into_inner()).await;
                    response.map(Response::new).map_err(|error| Status::internal(format!("{error:#}")))
                })
            }
        }
        let naive = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.unary(Report(naive), request).await)
        })
    }
}

/// Serves until aborted, with a pool of 32.
pub async fn serve(database: &Database) -> Result<(SocketAddr, AbortHandle)> {
    let sql = database.connect().await?;
    sql.batch_execute(TABLES).await?;
    sql.batch_execute("VACUUM ANALYZE").await?;
    sql.batch_execute("CHECKPOINT").await?;
    let manager = Manager::new(database.url.parse()?, NoTls);
    let pool = Pool::builder(manager).max_size(32).runtime(Runtime::Tokio1).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_service(Naive { pool }).serve_with_incoming(incoming);
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            eprintln!("the naive service: {error}");
        }
    });
    Ok((address, task.abort_handle()))
}
