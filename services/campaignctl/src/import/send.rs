//! Sends chunks of leads: one AddLeads stream for each, retried while the service is unreachable.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use campaign_metrics::{name::CampaignName, pb};
use tonic::Request;

use super::{progress::Progress, record::Record, source::Chunk};
use crate::{call::Service, failure::Failure};

/// Leads of a message: at most 260 kB, and one transaction of the size that is fastest for the service.
const MESSAGE_LEADS: usize = 1000;
/// Deadline of one stream: its ten messages take a tenth of a second, or some seconds if the service is under load.
const STREAM_MAX: Duration = Duration::from_mins(1);
/// Longest time of retries for a chunk. A service restarts within this time.
const REPEAT_MAX: Duration = Duration::from_mins(1);
/// First backoff. It doubles with each retry.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest backoff, so that the import continues soon after the service is reachable again.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The result of a chunk.
#[derive(Debug, Default)]
pub struct Answer {
    /// Leads added.
    pub added: i64,
    /// Leads that existed already.
    pub existing: i64,
    /// Records that the service refused: their index in the chunk, ascending, and the reason.
    pub refused: Vec<(usize, String)>,
}

/// Sends leads to one campaign.
#[derive(Debug)]
pub struct Sender<'a> {
    service: &'a Service,
    parent: String,
}

impl<'a> Sender<'a> {
    /// Creates a sender for `campaign`.
    pub fn new(service: &'a Service, campaign: &CampaignName) -> Self {
        Self { service, parent: campaign.to_string() }
    }

    /// Adds the leads of a chunk.
    pub async fn add(&self, chunk: &Chunk, progress: &Progress) -> anyhow::Result<Answer> {
        let good = |(index, record): (usize, &Record)| Some((index, record.lead.clone().ok()?));
        let (indexes, leads): (Vec<usize>, Vec<pb::NewLead>) =
            chunk.records.iter().enumerate().filter_map(good).unzip();
        if leads.is_empty() {
            return Ok(Answer::default());
        }
        let messages = leads.chunks(MESSAGE_LEADS).map(|leads| pb::AddLeadsRequest {
            parent: self.parent.clone(),
            leads: leads.to_vec(),
            lead_list_complete: false,
        });
        let response = self.stream(messages.collect(), progress).await?;
        let refusal = |refused: pb::RefusedLead| {
            let index = usize::try_from(refused.index).ok().and_then(|index| indexes.get(index));
            let index = index.context("the service refused a lead that was not in the stream")?;
            Ok((*index, format!("{}: {}", refused.reason, refused.message)))
        };
        let mut refused = response.refused.into_iter().map(refusal).collect::<anyhow::Result<Vec<_>>>()?;
        refused.sort_by_key(|(index, _)| *index);
        ensure!(
            i64::try_from(refused.len()) == Ok(response.refused_count),
            "the service refused {} leads and named {}",
            response.refused_count,
            refused.len()
        );
        Ok(Answer { added: response.added_count, existing: response.existing_count, refused })
    }

    /// Declares the lead list complete. Returns `false` if the campaign is finished and its list is open: so it stays.
    pub async fn complete(&self, progress: &Progress) -> anyhow::Result<bool> {
        let message = pb::AddLeadsRequest { parent: self.parent.clone(), leads: Vec::new(), lead_list_complete: true };
        match self.stream(vec![message], progress).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.reason().as_deref() == Some("CAMPAIGN_FINISHED") => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sends a stream, and retries it while the service is unreachable. Adding a lead again changes nothing.
    ///
    /// A retry counts leads that an earlier try committed as existing.
    async fn stream(
        &self,
        messages: Vec<pb::AddLeadsRequest>,
        progress: &Progress,
    ) -> Result<pb::AddLeadsResponse, Failure> {
        let mut failing_since = None;
        let mut pause = PAUSE_MIN;
        loop {
            let mut client = self.service.leads();
            let mut request = Request::new(tokio_stream::iter(messages.clone()));
            request.set_timeout(STREAM_MAX);
            let failure = match self.service.within(STREAM_MAX, client.add_leads(request)).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let since: Instant = *failing_since.get_or_insert_with(Instant::now);
            let spent = since.elapsed();
            if !failure.is_transient() || spent >= REPEAT_MAX {
                return Err(failure);
            }
            let wait = pause.max(failure.retry_delay().unwrap_or_default()).min(PAUSE_MAX);
            let wait = wait.mul_f64(rand::random_range(1.0..1.5));
            progress.say(&format!(
                "{}; trying again in {:.1} s, for {} s more",
                failure.brief(),
                wait.as_secs_f64(),
                REPEAT_MAX.saturating_sub(spent).as_secs()
            ));
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Cursor,
        sync::{Arc, Mutex},
    };

    use campaign_metrics::pb::lead_service_server::{LeadService, LeadServiceServer};
    use tokio::{net::TcpListener, task::JoinSet};
    use tonic::{
        Response, Status, Streaming,
        transport::{Server, server::TcpIncoming},
    };

    use super::*;
    use crate::{
        args::Format,
        import::{input::input, record::Names, source::Source},
    };

    /// Refuses leads whose number is divisible by 1000; the first stream breaks after its second message.
    #[derive(Debug, Default, Clone)]
    struct Fake(Arc<Mutex<Received>>);

    #[derive(Debug, Default)]
    struct Received {
        streams: usize,
        messages: Vec<usize>,
        parents: Vec<String>,
        completed: usize,
    }

    #[tonic::async_trait]
    impl LeadService for Fake {
        async fn add_leads(
            &self,
            request: Request<Streaming<pb::AddLeadsRequest>>,
        ) -> Result<Response<pb::AddLeadsResponse>, Status> {
            let is_first = {
                let mut seen = self.0.lock().unwrap();
                seen.streams += 1;
                seen.streams == 1
            };
            let mut stream = request.into_inner();
            let mut response = pb::AddLeadsResponse::default();
            let (mut index, mut count) = (0, 0);
            while let Some(message) = stream.message().await? {
                count += 1;
                if is_first && count == 2 {
                    return Err(Status::unavailable("gone for a moment"));
                }
                let mut seen = self.0.lock().unwrap();
                seen.parents.push(message.parent);
                seen.messages.push(message.leads.len());
                seen.completed += usize::from(message.lead_list_complete);
                for lead in message.leads {
                    let number: u64 = lead.lead_id.trim_start_matches("lead-").parse().unwrap();
                    if number.is_multiple_of(1000) {
                        response.refused_count += 1;
                        response.refused.push(pb::RefusedLead {
                            index,
                            reason: "BAD".to_owned(),
                            message: lead.lead_id,
                        });
                    } else {
                        response.added_count += 1;
                    }
                    index += 1;
                }
            }
            Ok(Response::new(response))
        }

        async fn get_lead(&self, _: Request<pb::GetLeadRequest>) -> Result<Response<pb::Lead>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }

        async fn list_leads(
            &self,
            _: Request<pb::ListLeadsRequest>,
        ) -> Result<Response<pb::ListLeadsResponse>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }

        async fn reassign_leads(
            &self,
            _: Request<pb::ReassignLeadsRequest>,
        ) -> Result<Response<pb::ReassignLeadsResponse>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }

        async fn delete_lead(
            &self,
            _: Request<pb::DeleteLeadRequest>,
        ) -> Result<Response<pb::DeleteLeadResponse>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }

        async fn list_lead_outcomes(
            &self,
            _: Request<pb::ListLeadOutcomesRequest>,
        ) -> Result<Response<pb::ListLeadOutcomesResponse>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }

        type ExportLeadsStream = tokio_stream::Empty<Result<pb::ExportLeadsResponse, Status>>;

        async fn export_leads(
            &self,
            _: Request<pb::ExportLeadsRequest>,
        ) -> Result<Response<Self::ExportLeadsStream>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }

        type ExportOutcomesStream = tokio_stream::Empty<Result<pb::ExportOutcomesResponse, Status>>;

        async fn export_outcomes(
            &self,
            _: Request<pb::ExportOutcomesRequest>,
        ) -> Result<Response<Self::ExportOutcomesStream>, Status> {
            Err(Status::unimplemented("not part of an import"))
        }
    }

    #[tokio::test]
    async fn a_broken_stream_is_sent_anew_and_refusals_find_back_to_their_lines() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Fake::default();
        let server = Server::builder().add_service(LeadServiceServer::new(fake.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });

        // Every tenth line is refused here already, so that indexes in the stream and in the file differ.
        let mut file = "id\n".to_owned();
        for number in 1..=5000 {
            let prefix = if number % 10 == 1 { "no lead" } else { "lead" };
            file.extend([prefix, "-", &number.to_string(), "\n"]);
        }
        let (chunks, mut received) = tokio::sync::mpsc::channel(1);
        let input = input(Cursor::new(file.into_bytes()), None, None).unwrap();
        let source = Source::new(input, Some(Format::Csv), &Names::default(), None).unwrap();
        let reading = tokio::task::spawn_blocking(move || source.read_all(&chunks));
        let chunk = received.recv().await.unwrap();
        reading.await.unwrap().unwrap();

        let service = Service::new(&url).unwrap();
        let campaign = "workspaces/w/campaigns/c".parse().unwrap();
        let sender = Sender::new(&service, &campaign);
        let progress = Progress::new(None);
        let answer = sender.add(&chunk, &progress).await.unwrap();
        assert_eq!((answer.added, answer.existing), (4495, 0));
        let lines: Vec<u64> = answer.refused.iter().map(|(index, _)| chunk.records[*index].line).collect();
        assert_eq!(lines, [1001, 2001, 3001, 4001, 5001], "the header is line 1");
        assert_eq!(answer.refused[0].1, "BAD: lead-1000");

        assert!(sender.complete(&progress).await.unwrap());
        let seen = fake.0.lock().unwrap();
        assert_eq!(seen.streams, 3);
        assert_eq!(seen.messages, [1000, 1000, 1000, 1000, 1000, 500, 0]);
        assert_eq!(seen.completed, 1);
        assert!(seen.parents.iter().all(|parent| *parent == campaign.to_string()));
    }
}
