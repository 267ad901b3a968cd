//! Ends streams whose callers read nothing any more.
//!
//! HTTP/2 asks for the next message only when the caller has room for it. If a program reads nothing while its library answers
//! pings, nobody ever asks, so the stream itself can't notice. What the connection has taken of it stays there until the caller
//! reads or disconnects; all else is given up, also its place among the streams of this process.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument as _;

use super::Messages;
use crate::error::Error;

/// A stream, and since when its caller does not ask for more.
struct Taking<M> {
    /// `None` once it was given up.
    messages: Option<Messages<M>>,
    /// When the last message was taken, if the next one was not asked for since.
    since: Option<Instant>,
}

/// A stream that is given up when its caller reads nothing for too long.
struct Read<M> {
    taking: Arc<Mutex<Taking<M>>>,
    _watchdog: AbortOnDropHandle<()>,
}

/// Gives up `messages` when their caller does not read for `unread_max`. A caller that reads on afterwards gets what was sent
/// until then, and the error.
pub(super) fn until_unread<M: Send + 'static>(messages: Messages<M>, unread_max: Duration) -> Messages<M> {
    let taking = Arc::new(Mutex::new(Taking { messages: Some(messages), since: None }));
    let watchdog = tokio::spawn(give_up(Arc::downgrade(&taking), unread_max).in_current_span());
    Box::pin(Read { taking, _watchdog: AbortOnDropHandle::new(watchdog) })
}

/// Waits until the stream has not been read for so long, or until it is dropped.
async fn give_up<M>(taking: Weak<Mutex<Taking<M>>>, unread_max: Duration) {
    let mut next = Instant::now() + unread_max;
    loop {
        sleep_until(next).await;
        let Some(taking) = taking.upgrade() else { return };
        let now = Instant::now();
        let mut taking = lock(&taking);
        next = taking.since.unwrap_or(now) + unread_max;
        if next <= now {
            tracing::info!("gave up a stream: its caller has read nothing of it for {unread_max:?}");
            taking.messages = None;
            return;
        }
    }
}

fn lock<M>(taking: &Mutex<Taking<M>>) -> MutexGuard<'_, Taking<M>> {
    taking.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M> Stream for Read<M> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut taking = lock(&self.taking);
        let Some(messages) = &mut taking.messages else { return Poll::Ready(Some(Err(Error::Unread.into()))) };
        let polled = messages.as_mut().poll_next(context);
        taking.since = matches!(polled, Poll::Ready(Some(_))).then(Instant::now);
        polled
    }
}
