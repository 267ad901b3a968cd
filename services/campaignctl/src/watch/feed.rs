//! Receives the campaigns of a workspace, and connects again after a failure.

use std::time::Duration;

use campaign_metrics::pb;
use tokio::{sync::mpsc::Sender, time::sleep};
use tonic::Status;

use crate::{
    call::{CALL_MAX, Service},
    failure::Failure,
};

/// First backoff. It doubles with each attempt.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest backoff, so that the view is live again soon after the service is.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What the feed tells.
#[derive(Debug)]
pub enum Event {
    /// The stream is open. All campaigns follow.
    Connected,
    /// A message of the stream.
    Message(Box<pb::WatchCampaignsResponse>),
    /// The connection is lost; the next attempt comes after `wait`.
    Lost {
        /// The problem in one line.
        why: String,
        /// Time until the next attempt.
        wait: Duration,
    },
}

/// Sends events until their receiver is gone. Fails where a retry can't help, and if the first attempt fails, unless the
/// service is starting.
pub async fn feed(service: Service, parent: String, events: Sender<Event>) -> Result<(), Failure> {
    let mut was_connected = false;
    let mut pause = WAIT_MIN;
    loop {
        let (failure, is_received) = match listen(&service, &parent, &events).await {
            Ok(()) => return Ok(()),
            Err(broken) => broken,
        };
        was_connected |= is_received;
        let may_retry = was_connected || failure.ready_after().is_some();
        if !may_retry || !failure.is_transient() {
            return Err(failure);
        }
        if is_received {
            pause = WAIT_MIN;
        }
        let wait = pause.max(failure.retry_delay().unwrap_or_default()).min(WAIT_MAX);
        let wait = wait.mul_f64(rand::random_range(1.0..1.5));
        if events.send(Event::Lost { why: failure.brief(), wait }).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = events.closed() => return Ok(()),
        }
        pause = (pause * 2).min(WAIT_MAX);
    }
}

/// Receives one stream until it breaks, and tells whether anything was received. Returns `Ok` if the receiver of the
/// events is gone.
async fn listen(service: &Service, parent: &str, events: &Sender<Event>) -> Result<(), (Failure, bool)> {
    let mut client = service.campaigns();
    let request = pb::WatchCampaignsRequest { parent: parent.to_owned(), min_interval: None };
    let opening = service.within(CALL_MAX, client.watch_campaigns(request));
    let mut messages = opening.await.map_err(|failure| (failure, false))?;
    if events.send(Event::Connected).await.is_err() {
        return Ok(());
    }
    let mut is_received = false;
    loop {
        let message = tokio::select! {
            message = messages.message() => message,
            () = events.closed() => return Ok(()),
        };
        let ended = || Status::unavailable("the service ended the stream; it may be restarting");
        let message = message.and_then(|message| message.ok_or_else(ended));
        let message = message.map_err(|status| (service.failure(status), is_received))?;
        is_received = true;
        if events.send(Event::Message(Box::new(message))).await.is_err() {
            return Ok(());
        }
    }
}
