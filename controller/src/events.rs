//! Publishes Kubernetes events. An event that repeats word for word counts up; one with another text is another event.
//!
//! The recorder of `kube` takes an event for a repeat whatever it says, and goes on showing the first text.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::events::Reporter,
};
use serde_json::json;

use crate::plan::{Notice, Severity};

/// Reporter of events.
const REPORTER: &str = "campaign-metrics.io/campaign-controller";
/// Time in which a repeat counts up the event before it, as Kubernetes' own recorders have it.
const REPEAT_MAX: Duration = Duration::from_mins(6);
/// Most events that are remembered. Beyond it, old ones and then all are forgotten, and a repeat is another event.
const KNOWN_MAX: usize = 4096;
/// Longest part of the name of a resource in the name of its event, in bytes: with the time after it 253 fit.
const NAME_BYTES: usize = 220;

/// An event that was published.
#[derive(Debug, Clone)]
struct Known {
    name: String,
    count: i32,
    at: Instant,
}

/// What makes an event the same: the UID of its resource, the reason and the note.
type Key = (String, &'static str, String);

/// Publishes events.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    instance: String,
    known: Arc<Mutex<HashMap<Key, Known>>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Creates a recorder that remembers no event.
    pub fn new(client: Client) -> Self {
        let instance = Reporter::from(REPORTER).instance.unwrap_or_else(|| REPORTER.to_owned());
        Self { client, instance, known: Arc::default() }
    }

    /// Publishes an event about a resource, or counts up the one that said the same.
    pub async fn publish(&self, notice: &Notice, regarding: &ObjectReference) -> kube::Result<()> {
        let events: Api<Event> = match &regarding.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::default_namespaced(self.client.clone()),
        };
        let key = (regarding.uid.clone().unwrap_or_default(), notice.reason, notice.note.clone());
        let now = MicroTime(Timestamp::now());
        if let Some(known) = self.recall(&key) {
            let count = known.count.saturating_add(1);
            let series = EventSeries { count, last_observed_time: now.clone() };
            let patch = Patch::Merge(json!({"series": series}));
            match events.patch(&known.name, &PatchParams::default(), &patch).await {
                // Kubernetes forgets events after a while.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                patched => {
                    patched?;
                    self.remember(key, Known { count, at: Instant::now(), ..known });
                    return Ok(());
                }
            }
        }
        let event = self.event(notice, regarding, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        self.remember(key, Known { name, count: 1, at: Instant::now() });
        Ok(())
    }

    fn event(&self, notice: &Notice, regarding: &ObjectReference, now: MicroTime) -> Event {
        let resource = regarding.name.as_deref().unwrap_or_default();
        let resource = resource[..resource.floor_char_boundary(NAME_BYTES)].trim_end_matches(['-', '.']);
        let kind = match notice.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{resource}.{:x}", now.0.as_nanosecond())),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(now),
            note: Some(notice.note.clone()),
            reason: Some(notice.reason.to_owned()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(kind.to_owned()),
            ..Event::default()
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, key: &Key) -> Option<Known> {
        self.known().get(key).filter(|known| known.at.elapsed() < REPEAT_MAX).cloned()
    }

    fn remember(&self, key: Key, event: Known) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, event| event.at.elapsed() < REPEAT_MAX);
        }
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, event);
    }
}
