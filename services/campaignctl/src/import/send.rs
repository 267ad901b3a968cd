//! Sends chunks of leads: one AddLeads stream each, repeated while the service is away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use campaign_metrics::{name::CampaignName, pb};
use tonic::Request;

use super::{progress::Progress, source::Chunk};
use crate::{call::Service, failure::Failure};

/// Leads per message: 260 kB at their longest, and one transaction of the size that the service does best.
const MESSAGE_LEADS: usize = 1000;
/// Deadline of one stream: ten messages take a tenth of a second, and a service under load some seconds.
const STREAM_MAX: Duration = Duration::from_mins(1);
/// How long a chunk is repeated: a service restarts within that.
const REPEAT_MAX: Duration = Duration::from_mins(1);
/// First pause before a repeat; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause before a repeat, so that the import goes on soon after the service is back.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What became of a chunk.
#[derive(Debug, Default)]
pub struct Answer {
    /// Leads added.
    pub added: i64,
    /// Leads that were there already.
    pub existing: i64,
    /// Places in the chunk of the records that the service refused, ascending, each with its reason.
    pub refused: Vec<(usize, String)>,
}

/// Adds leads to one campaign.
#[derive(Debug)]
pub struct Sender<'a> {
    service: &'a Service,
    parent: String,
}

impl<'a> Sender<'a> {
    /// Adds to `campaign`.
    pub fn new(service: &'a Service, campaign: &CampaignName) -> Self {
        Self {
            service,
            parent: campaign.to_string(),
        }
    }

    /// Adds the leads of a chunk.
    pub async fn add(&self, chunk: &Chunk, progress: &Progress) -> anyhow::Result<Answer> {
        let good = |(place, record): (usize, &super::source::Record)| Some((place, record.lead.clone().ok()?));
        let (places, leads): (Vec<usize>, Vec<pb::NewLead>) = chunk.records.iter().enumerate().filter_map(good).unzip();
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
            let place = usize::try_from(refused.index).ok().and_then(|index| places.get(index));
            let place = place.context("the service refused a lead that was not in the stream")?;
            Ok((*place, format!("{}: {}", refused.reason, refused.message)))
        };
        let mut refused = response
            .refused
            .into_iter()
            .map(refusal)
            .collect::<anyhow::Result<Vec<_>>>()?;
        refused.sort_by_key(|(place, _)| *place);
        ensure!(
            i64::try_from(refused.len()) == Ok(response.refused_count),
            "the service refused {} leads and named {}",
            response.refused_count,
            refused.len()
        );
        Ok(Answer {
            added: response.added_count,
            existing: response.existing_count,
            refused,
        })
    }

    /// Declares the lead list complete.
    pub async fn complete(&self, progress: &Progress) -> anyhow::Result<()> {
        let message = pb::AddLeadsRequest {
            parent: self.parent.clone(),
            leads: Vec::new(),
            lead_list_complete: true,
        };
        self.stream(vec![message], progress).await?;
        Ok(())
    }

    /// Sends a stream, anew while the service is away: adding a lead again changes nothing.
    ///
    /// A repeat counts what an earlier try committed as existing, which it then is.
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
                "the service is away ({failure}); trying again in {:.1} s, for {} s more",
                wait.as_secs_f64(),
                REPEAT_MAX.saturating_sub(spent).as_secs()
            ));
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
    }
}
