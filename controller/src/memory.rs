//! State between reconciles: for each resource what the controller did, for each campaign the last observation.
//!
//! All of it can be lost. After a restart every generation is applied once more, which is idempotent. Its size is
//! bounded by the number of resources and managed campaigns; an entry is removed with its object.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use campaign_metrics::pb;
use jiff::Timestamp;

use crate::{
    crd::{CampaignStatus, DesiredState},
    plan::{Applied, Diagnosed, Observed},
};

/// Longest validity of an observation. A change that the streams lost is found after this time. For 10 000 campaigns
/// this costs three calls per second.
const RESYNC: Duration = Duration::from_hours(1);
/// Random share by which the resync is shortened, so that campaigns that were created together spread out.
const RESYNC_JITTER: f64 = 0.2;
/// Shortest wait for a change that time alone causes. The clocks of service and controller may differ, and a call that
/// is too early gets the same answer again.
pub const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// What the controller did for one resource.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The answer of the service to the last apply.
    pub applied: Option<Applied>,
    /// The status that was written last. The cache of the watch lags behind it.
    pub status: Option<CampaignStatus>,
    /// Time of that write.
    pub written: Option<Instant>,
    /// The refusal that only an edit can repair.
    pub stalled: Option<Stalled>,
    /// Consecutive failures.
    pub attempts: u32,
    /// `spec.state` of the generation that was confirmed last.
    pub confirmed_state: Option<DesiredState>,
    /// Time of the last diagnosis of the campaign, and what it was made of.
    pub diagnosed: Option<(Instant, Diagnosed)>,
    /// The newest generation, and the time at which the watch delivered it.
    pub edit: Option<(i64, Instant)>,
}

/// A refusal of the service that only an edit can repair. It is tried again rarely, since something else may repair it too:
/// another version of the service, another owner.
#[derive(Debug, Clone)]
pub struct Stalled {
    /// The generation that was refused.
    pub generation: i64,
    /// Reason of the failure.
    pub reason: &'static str,
    /// Time of the refusal.
    pub since: Instant,
    /// Time until it is tried again.
    pub wait: Duration,
    /// Version of the service that refused it.
    pub service_version: String,
}

impl Remembered {
    /// Returns how long this generation is not tried again against this version of the service; `None` if it may be tried.
    pub fn stalled_for(&self, generation: i64, service_version: &str) -> Option<Duration> {
        let stalled = self.stalled.as_ref()?;
        let left = stalled.wait.saturating_sub(stalled.since.elapsed());
        let holds = stalled.generation == generation && stalled.service_version == service_version;
        (holds && !left.is_zero()).then_some(left)
    }
}

/// The source of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The answer to a call, which is current.
    Answer,
    /// The stream of changes, whose message can be older than the last answer.
    Stream,
}

#[derive(Debug)]
struct Observation {
    campaign: Box<pb::Campaign>,
    good_until: Timestamp,
}

/// Memory that reconciles and watches share. Locks are held only for a look-up.
#[derive(Debug, Default)]
pub struct Memory {
    resources: Mutex<HashMap<String, Remembered>>,
    campaigns: Mutex<HashMap<String, Observation>>,
    /// Since when the stream of the service is not open; `None` while it is.
    lost: Mutex<Option<Instant>>,
    service_version: Mutex<String>,
    /// Held while statuses are written that say that the service is away.
    pub outage_writes: tokio::sync::Mutex<()>,
}

/// Takes a lock, even if a holder panicked. The worst case is an outdated entry, which is harmless here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Returns what the controller did for the resource with a UID.
    pub fn recall(&self, uid: &str) -> Remembered {
        lock(&self.resources).get(uid).cloned().unwrap_or_default()
    }

    /// Changes the entry of the resource with a UID.
    pub fn remember<T>(&self, uid: &str, change: impl FnOnce(&mut Remembered) -> T) -> T {
        change(lock(&self.resources).entry(uid.to_owned()).or_default())
    }

    /// Records when a generation was first seen, to measure the time until it is applied.
    pub fn edited(&self, uid: &str, generation: i64, at: Instant) {
        self.remember(uid, |remembered| match remembered.edit {
            Some((known, _)) if known >= generation => {}
            _ => remembered.edit = Some((generation, at)),
        });
    }

    /// Records that the stream of the service is not open.
    pub fn service_lost(&self) {
        lock(&self.lost).get_or_insert_with(Instant::now);
    }

    /// Records that the stream of the service is open.
    pub fn service_found(&self) {
        *lock(&self.lost) = None;
    }

    /// Returns how long the stream of the service has not been open; `None` while it is.
    pub fn lost_for(&self) -> Option<Duration> {
        lock(&self.lost).map(|since| since.elapsed())
    }

    /// Records the version of the service.
    pub fn serves(&self, version: &str) {
        version.clone_into(&mut lock(&self.service_version));
    }

    /// Returns the version of the service; empty before it is known.
    pub fn service_version(&self) -> String {
        lock(&self.service_version).clone()
    }

    /// Removes the entry of a resource that no longer exists.
    pub fn forget(&self, uid: &str) {
        lock(&self.resources).remove(uid);
    }

    /// Records an observation of a campaign.
    pub fn observe(&self, campaign: pb::Campaign, source: Source, now: Timestamp) {
        let mut campaigns = lock(&self.campaigns);
        if campaign.owner.is_none() {
            // No resource manages a campaign without owner. Keeping those would let the memory grow with the service.
            campaigns.remove(&campaign.name);
            return;
        }
        if source == Source::Stream
            && let Some(held) = campaigns.get_mut(&campaign.name)
            && is_newer(&held.campaign, &campaign)
        {
            // The message is older than the last answer, or from a replica whose clock is late. Only a call can tell.
            held.good_until = now;
            return;
        }
        let resync = RESYNC.mul_f64(1.0 - RESYNC_JITTER * rand::random::<f64>());
        let resync = now.checked_add(resync).unwrap_or(now);
        let change = campaign.next_change_time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        let observation = Observation {
            good_until: change.map_or(resync, |change| change.min(resync)),
            campaign: Box::new(campaign),
        };
        campaigns.insert(observation.campaign.name.clone(), observation);
    }

    /// Removes a campaign that was deleted, or may have been.
    pub fn vanished(&self, campaign_name: &str) {
        lock(&self.campaigns).remove(campaign_name);
    }

    /// Removes all campaigns that a complete listing does not contain.
    pub fn keep_only(&self, listed: &HashSet<String>) {
        lock(&self.campaigns).retain(|name, _| listed.contains(name));
    }

    /// Returns the observation of a campaign, if it is still valid. None is while the stream does not keep it up.
    pub fn observed(&self, campaign_name: &str, now: Timestamp) -> Observed {
        if self.lost_for().is_some() {
            return Observed::Unknown;
        }
        match lock(&self.campaigns).get(campaign_name) {
            Some(observation) if now < observation.good_until => Observed::Present(observation.campaign.clone()),
            _ => Observed::Unknown,
        }
    }

    /// Returns the time until a campaign must be observed again.
    pub fn look_again_in(&self, campaign_name: &str, now: Timestamp) -> Duration {
        let left = lock(&self.campaigns)
            .get(campaign_name)
            .and_then(|observation| Duration::try_from(observation.good_until.duration_since(now)).ok());
        left.unwrap_or_default().max(LOOK_AGAIN_MIN)
    }
}

/// Returns whether `held` is certainly a later state of the same campaign. An edit may change only the generation.
fn is_newer(held: &pb::Campaign, other: &pb::Campaign) -> bool {
    let later_generation = match (&held.owner, &other.owner) {
        (Some(held), Some(other)) => held.uid == other.uid && held.generation > other.generation,
        _ => false,
    };
    held.uid == other.uid && (later_generation || update_time(held) > update_time(other))
}

fn update_time(campaign: &pb::Campaign) -> (i64, i32) {
    campaign.update_time.map_or((0, 0), |time| (time.seconds, time.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(updated: i64, next_change: Option<i64>) -> pb::Campaign {
        let time = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        pb::Campaign {
            name: "workspaces/team/campaigns/spring".into(),
            uid: "c-1".into(),
            update_time: Some(time(updated)),
            next_change_time: next_change.map(time),
            owner: Some(pb::Owner::default()),
            ..pb::Campaign::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_observation_holds_until_time_alone_changes_the_campaign() {
        let memory = Memory::default();
        let campaign = campaign(10, Some(60));
        memory.observe(campaign.clone(), Source::Stream, at(20));
        let name = &campaign.name;
        assert_eq!(memory.observed(name, at(59)), Observed::Present(Box::new(campaign.clone())));
        assert_eq!(memory.look_again_in(name, at(20)), Duration::from_secs(40));
        assert_eq!(memory.observed(name, at(60)), Observed::Unknown);
        assert_eq!(memory.look_again_in(name, at(60)), LOOK_AGAIN_MIN);
    }

    #[test]
    fn an_observation_never_holds_longer_than_the_resync() {
        let memory = Memory::default();
        memory.observe(campaign(10, Some(1_000_000)), Source::Stream, at(20));
        memory.observe(campaign(10, None), Source::Stream, at(20));
        let wait = memory.look_again_in("workspaces/team/campaigns/spring", at(20));
        assert!((2880..=3600).contains(&wait.as_secs()), "{wait:?}");
        memory.observe(campaign(10, Some(1_000_000)), Source::Stream, at(20));
        let wait = memory.look_again_in("workspaces/team/campaigns/spring", at(20));
        assert!((2880..=3600).contains(&wait.as_secs()), "a change that is days away: {wait:?}");
    }

    #[test]
    fn what_is_not_known_is_looked_at_after_a_moment() {
        let memory = Memory::default();
        let name = "workspaces/team/campaigns/spring";
        assert_eq!(
            (memory.observed(name, at(10)), memory.look_again_in(name, at(10))),
            (Observed::Unknown, LOOK_AGAIN_MIN)
        );
        memory.observe(campaign(10, None), Source::Answer, at(10));
        memory.vanished("workspaces/team/campaigns/autumn");
        assert!(matches!(memory.observed(name, at(11)), Observed::Present(_)));
        memory.vanished(name);
        assert_eq!(memory.observed(name, at(11)), Observed::Unknown);
    }

    #[test]
    fn a_message_is_older_only_of_the_same_campaign_by_its_time_or_generation() {
        let seen = |held: &pb::Campaign, message: &pb::Campaign| {
            let memory = Memory::default();
            memory.observe(held.clone(), Source::Stream, at(100));
            memory.observe(message.clone(), Source::Stream, at(101));
            memory.observed(&held.name, at(101))
        };
        let owner = |uid: &str, generation| Some(pb::Owner { uid: uid.into(), generation, ..pb::Owner::default() });
        let with = |change: &dyn Fn(&mut pb::Campaign)| {
            let mut campaign = pb::Campaign { owner: owner("u-1", 5), ..campaign(30, None) };
            change(&mut campaign);
            campaign
        };
        let held = with(&|_| {});
        let taken =
            |message: &pb::Campaign| assert_eq!(seen(&held, message), Observed::Present(Box::new(message.clone())));
        let overtaken = |message: &pb::Campaign| assert_eq!(seen(&held, message), Observed::Unknown);
        taken(&with(&|campaign| campaign.in_flight_claims = 7));
        taken(&with(&|campaign| campaign.update_time.as_mut().unwrap().nanos = 1));
        taken(&with(&|campaign| campaign.owner = owner("u-1", 6)));
        taken(&with(&|campaign| campaign.owner = owner("u-2", 4)));
        taken(&with(&|campaign| {
            campaign.uid = "c-2".into();
            campaign.update_time.as_mut().unwrap().seconds = 29;
            campaign.owner = owner("u-1", 4);
        }));
        overtaken(&with(&|campaign| campaign.update_time.as_mut().unwrap().seconds = 29));
        overtaken(&with(&|campaign| campaign.update_time = None));
        overtaken(&with(&|campaign| campaign.owner = owner("u-1", 4)));
        overtaken(&with(&|campaign| {
            campaign.owner = owner("u-1", 4);
            campaign.update_time.as_mut().unwrap().seconds = 31;
        }));
        let finer = with(&|campaign| campaign.update_time.as_mut().unwrap().nanos = 1);
        assert_eq!(seen(&finer, &held), Observed::Unknown);
    }

    #[test]
    fn a_message_overtaken_by_an_answer_only_asks_for_a_look() {
        let memory = Memory::default();
        memory.observe(campaign(30, None), Source::Answer, at(30));
        memory.observe(campaign(10, None), Source::Stream, at(31));
        assert_eq!(memory.observed("workspaces/team/campaigns/spring", at(31)), Observed::Unknown);
        memory.observe(campaign(10, None), Source::Answer, at(32));
        assert!(matches!(memory.observed("workspaces/team/campaigns/spring", at(32)), Observed::Present(_)));
    }

    #[test]
    fn campaigns_without_owner_and_those_not_listed_are_forgotten() {
        let memory = Memory::default();
        let name = "workspaces/team/campaigns/spring";
        memory.observe(campaign(10, None), Source::Stream, at(10));
        memory.keep_only(&HashSet::from([name.to_owned()]));
        assert!(matches!(memory.observed(name, at(11)), Observed::Present(_)));
        memory.keep_only(&HashSet::new());
        assert_eq!(memory.observed(name, at(11)), Observed::Unknown);
        memory.observe(campaign(10, None), Source::Stream, at(10));
        let orphan = pb::Campaign { owner: None, ..campaign(12, None) };
        memory.observe(orphan, Source::Stream, at(12));
        assert_eq!(memory.observed(name, at(12)), Observed::Unknown);
    }

    #[test]
    fn the_first_sight_of_a_generation_is_the_one_that_counts() {
        let memory = Memory::default();
        let (first, later) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        memory.edited("u", 2, first);
        memory.edited("u", 2, later);
        memory.edited("u", 1, later);
        assert_eq!(memory.recall("u").edit, Some((2, first)));
        memory.edited("u", 3, later);
        assert_eq!(memory.recall("u").edit, Some((3, later)), "another generation is another edit");
        memory.forget("other");
        assert!(memory.recall("u").edit.is_some());
        memory.forget("u");
        assert_eq!(memory.recall("u").edit, None);
    }
}
