//! Ingest for minutes, with and without an old snapshot: speed and memory must stay constant.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    direct::count,
    events::{By, Events, Order, events},
    ingest::{messages, stream_all},
    load::Load,
    report::{Report, Target},
    stage::Stage,
};

const LEADS: u32 = 26_000_000;
const FLEET: u32 = 10_000;
const MINUTES: usize = 5;
/// Events handed over at a time: few enough to hold, many enough for the streams to run.
const PORTION: usize = 200_000;

/// What was reported of the portions that began in a minute.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    applied: usize,
    took: Duration,
    resident_mib: f64,
}

pub async fn measure(stage: &Stage, report: &mut Report) -> Result<()> {
    let all = events(1, 1, LEADS.cast_signed(), Order::Random);
    for (name, old_snapshot, target) in [("sustained", false, 0.85), ("sustained_old_snapshot", true, 0.8)] {
        stage.progress.step(name);
        let database = stage.database(Load::Large { leads: LEADS, fleet: FLEET }).await?;
        let service = stage.service(&database).await?;
        let old = database.connect().await?;
        if old_snapshot {
            old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM campaigns").await?;
        }
        let start = Instant::now();
        let mut minutes = [Minute::default(); MINUTES];
        for portion in all.events.chunks(PORTION) {
            let part = Events { events: portion.to_vec(), applied: 0 };
            let requests = messages(&part, By::SendKey);
            let begun = start.elapsed();
            let Some(minute) = minutes.get_mut(usize::try_from(begun.as_secs() / 60)?) else { break };
            minute.applied += stream_all(&service, requests).await?;
            minute.took += start.elapsed().saturating_sub(begun);
            minute.resident_mib = minute.resident_mib.max(service.resident_mib()?);
        }
        let ran = start.elapsed();
        ensure!(ran >= Duration::from_mins(1) * u32::try_from(MINUTES)?, "void: the leads were used up after {ran:?}");
        let rates = minutes.map(|minute| count(minute.applied) / minute.took.as_secs_f64());
        let memory = minutes.map(|minute| minute.resident_mib);
        stage.progress.say(&format!("  events/s by minute: {rates:.0?}; MiB: {memory:.0?}"));
        let best = rates.iter().copied().fold(0.0, f64::max);
        report.ratio(name, "events/s", &rates[MINUTES - 1..], &[best], Target::AtLeast(target));
        if !old_snapshot {
            report.value("memory", "MiB", &memory[MINUTES - 1..], Target::AtMost(150.0));
            let growth = memory[MINUTES - 1] / memory[1];
            report.value("memory_growth", "ratio", &[growth], Target::AtMost(1.1));
        }
        drop(old);
        service.stop().await?;
        database.remove().await?;
    }
    Ok(())
}
