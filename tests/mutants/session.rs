//! One run of the tool: lists, selects, builds, tests, reports.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Mutex;

use crate::{
    Args,
    binaries::Binaries,
    coverage::{Step, steps},
    generate,
    harness::parts::repository,
    mutant::{Change, Mutant, number},
    results::{Dropped, Outcome, Record, Results},
    run::{Baseline, End, IN_PLACE, Worker},
    schema::{Schema, Verdict},
    select::Plan,
    sql_text,
    tree::{Built, Tree, build_with_switches},
};

/// What all workers share.
struct Session {
    directory: PathBuf,
    mutants: Vec<Mutant>,
    results: Mutex<Results>,
    dropped: Dropped,
    tree: Tree,
    schema: Schema,
    baseline: Baseline,
    begun: Instant,
    seconds_max: Option<u64>,
    how: String,
    bar: ProgressBar,
}

/// Runs the tool.
pub async fn run(args: &Args) -> Result<()> {
    let root = repository();
    let directory = root.join("target/mutants");
    fs::create_dir_all(&directory)?;
    let mut drafts = generate::rust_drafts(root, &directory)?;
    let texts = sql_text::texts(root)?;
    drafts.extend(sql_text::drafts(root, &texts)?);
    let mutants = number(drafts);
    let results = Results::open(&directory);
    let how = format!("`SEED={} SAMPLE={}`", args.seed, args.sample);
    if args.report {
        fs::write(directory.join("report.md"), results.report(&mutants, &how))?;
        return Ok(());
    }
    let plan = Plan::new(args, root, &mutants)?;
    println!("{} mutants in all; selected: {}; seed {}", mutants.len(), plan.text(), args.seed);
    if args.list {
        for mutant in plan.always.iter().chain(&plan.drawn) {
            println!("{}: {}", mutant.place(), mutant.description);
        }
        return Ok(());
    }
    if plan.always.is_empty() && plan.drawn.is_empty() {
        println!("nothing to run");
        return Ok(());
    }
    let tree = Tree::prepare(root, &directory)?;
    let mut dropped = Dropped::open(&directory)?;
    let built = build_with_switches(&tree, &mutants, &mut dropped).await?;
    let jobs = args.jobs.unwrap_or_else(|| cores().div_ceil(2)).max(1);
    let mut workers = Vec::new();
    for number in 0..jobs {
        let binaries = Binaries::copy(&built, &directory.join(format!("worker-{number}")))?;
        workers.push(Worker::start(binaries, (cores() / jobs).max(2)).await?);
    }
    let baseline = baseline(&directory, &mut workers[0], &built, plan.steps()).await?;
    let is_terminal = std::io::stdout().is_terminal();
    let bar = if is_terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let session = Session {
        schema: Schema::start(root).await?,
        results: Mutex::new(results),
        seconds_max: args.seconds_max,
        begun: Instant::now(),
        directory,
        mutants,
        dropped,
        tree,
        baseline,
        how,
        bar,
    };
    session.run_all(plan, args, &mut workers).await?;
    let results = session.results.lock().await;
    println!("\n{}", results.report(&session.mutants, &session.how));
    println!("written to {}", session.directory.join("report.md").display());
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

async fn baseline(directory: &Path, worker: &mut Worker, built: &Built, steps: BTreeSet<Step>) -> Result<Baseline> {
    let path = directory.join("baseline.json");
    let time = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let of: Vec<_> = built.tests.iter().map(|(name, (path, _))| (name, time(path))).collect();
    let mut baseline = Baseline::open(&path, format!("{of:?}"));
    println!("running {} groups of tests without a mutant", steps.len());
    for step in steps {
        if let Some(took) = baseline.measure(worker, &step, &directory.join("reached")).await? {
            println!("  {:.1} s: {}", took.as_secs_f64(), step.name());
        }
        baseline.save(&path)?;
    }
    Ok(baseline)
}

impl Session {
    async fn run_all(&self, plan: Plan, args: &Args, workers: &mut [Worker]) -> Result<()> {
        let mut again = BTreeSet::new();
        for outcome in [Outcome::Caught, Outcome::Missed, Outcome::Unviable, Outcome::Timeout] {
            if args.retry == format!("{outcome:?}").to_lowercase() {
                let results = self.results.lock().await;
                let known = self.mutants.iter().filter(|mutant| results.outcome(mutant) == Some(outcome));
                again.extend(known.map(|mutant| mutant.key.clone()));
            }
        }
        self.run_until(plan.always, usize::MAX, &mut again, workers).await?;
        self.run_until(plan.drawn, plan.sample, &mut again, workers).await
    }

    /// Runs mutants in their order until so many that compile have a result.
    async fn run_until(
        &self,
        mutants: Vec<Mutant>,
        sample: usize,
        again: &mut BTreeSet<String>,
        workers: &mut [Worker],
    ) -> Result<()> {
        loop {
            let batch = {
                let results = self.results.lock().await;
                let mut viable = 0;
                let mut batch = Vec::new();
                for mutant in &mutants {
                    if viable >= sample {
                        break;
                    }
                    let known = results.outcome(mutant).filter(|_| !again.contains(&mutant.key));
                    viable += usize::from(known != Some(Outcome::Unviable));
                    if known.is_none() {
                        batch.push(mutant.clone());
                    }
                }
                batch
            };
            if batch.is_empty() || self.is_late() {
                return Ok(());
            }
            for mutant in &batch {
                again.remove(&mutant.key);
            }
            self.run_batch(batch, workers).await?;
        }
    }

    fn is_late(&self) -> bool {
        self.seconds_max.is_some_and(|most| self.begun.elapsed() >= Duration::from_secs(most))
    }

    async fn run_batch(&self, batch: Vec<Mutant>, workers: &mut [Worker]) -> Result<()> {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta} left  {wide_msg}")?;
        self.bar.set_style(style);
        self.bar.set_length(batch.len() as u64);
        self.bar.set_position(0);
        let queue = Arc::new(Mutex::new(VecDeque::from(batch)));
        let alone = Arc::new(Mutex::new(Vec::new()));
        let works = workers.iter_mut().map(|worker| {
            let (queue, alone) = (queue.clone(), alone.clone());
            async move {
                while !self.is_late() {
                    let Some(mutant) = queue.lock().await.pop_front() else {
                        break;
                    };
                    if !self.run_one(&mutant, worker).await? {
                        alone.lock().await.push(mutant);
                    }
                }
                anyhow::Ok(())
            }
        });
        futures::future::try_join_all(works).await?;
        // One after the other: each takes a build, which uses all processors by itself.
        for mutant in Arc::into_inner(alone).context("the workers ended")?.into_inner() {
            if self.is_late() {
                break;
            }
            self.run_alone(&mutant).await?;
        }
        Ok(())
    }

    /// Runs a mutant that needs no build of its own; false when it does.
    async fn run_one(&self, mutant: &Mutant, worker: &mut Worker) -> Result<bool> {
        let begun = Instant::now();
        if let Some(code) = self.dropped.unviable(&mutant.key) {
            self.note(mutant, Outcome::Unviable, code, begun).await?;
            return Ok(true);
        }
        if let Verdict::Unviable(why) = self.schema.look(&mutant.change).await? {
            self.note(mutant, Outcome::Unviable, &why, begun).await?;
            return Ok(true);
        }
        match &mutant.change {
            Change::Rust { .. } if self.dropped.contains(&mutant.key) => return Ok(false),
            Change::Rust { .. } => {
                let (outcome, by) = self.tests(mutant, mutant.id, worker).await?;
                self.note(mutant, outcome, &by, begun).await?;
            }
            Change::Sql { text, range, replacement } => {
                let Some(written) = worker.binaries.write_over(text, range, replacement)? else {
                    return Ok(false);
                };
                let tested = self.tests(mutant, IN_PLACE, worker).await;
                written.take_back()?;
                let (outcome, by) = tested?;
                self.note(mutant, outcome, &by, begun).await?;
            }
        }
        Ok(true)
    }

    /// Runs the tests of a mutant, up to the first that fails.
    async fn tests(&self, mutant: &Mutant, number: u32, worker: &Worker) -> Result<(Outcome, String)> {
        let log = worker.log_length();
        let steps = steps(&mutant.file, mutant.is_sql()).unwrap_or_default();
        let steps: Vec<_> = if number == IN_PLACE {
            steps
        } else {
            steps.iter().filter_map(|step| self.baseline.reaching(step, number)).collect()
        };
        if steps.is_empty() {
            return Ok((Outcome::Missed, "no test gets there".to_owned()));
        }
        for step in steps {
            let limit = self.baseline.limit(&step);
            // Runs again what failed or took too long, since that can happen by chance.
            for attempt in 1..=2 {
                match worker.step(&step, number, limit).await?.0 {
                    End::Passed => break,
                    End::TimedOut if attempt == 1 => {}
                    End::TimedOut => return Ok((Outcome::Timeout, step.name())),
                    End::Failed(test) => {
                        let refused = worker.refusals(log);
                        let refused = refused
                            .into_iter()
                            .find(|line| !self.baseline.refusals.iter().any(|code| line.starts_with(code)));
                        if let Some(refused) = refused.filter(|_| mutant.is_sql()) {
                            return Ok((Outcome::Unviable, refused));
                        }
                        let died = test.starts_with('(');
                        if died || attempt == 2 || worker.fails_again(&step, &test, number, limit).await? {
                            return Ok((Outcome::Caught, test));
                        }
                    }
                }
            }
        }
        Ok((Outcome::Missed, String::new()))
    }

    /// Builds a mutant that no switch can hold, runs it, and takes it back.
    async fn run_alone(&self, mutant: &Mutant) -> Result<()> {
        let begun = Instant::now();
        let (range, replacement) = match &mutant.change {
            Change::Rust { range, replacement, .. } => (range.clone(), replacement),
            Change::Sql { text, range, replacement } => (text.source(range), replacement),
        };
        let original = self.tree.original(&mutant.file)?;
        let switched = fs::read(self.tree.root.join(&mutant.file))?;
        let edited = format!("{}{replacement}{}", &original[..range.start], &original[range.end..]);
        self.tree.put(&mutant.file, edited.as_bytes())?;
        let built = self.tree.build().await;
        let tested = match built {
            Ok(Ok(built)) => {
                let binaries = Binaries::copy(&built, &self.directory.join("alone"))?;
                let worker = Worker::start(binaries, cores()).await?;
                self.tests(mutant, IN_PLACE, &worker).await
            }
            Ok(Err(refused)) => Ok((Outcome::Unviable, refused[0].code.clone())),
            Err(error) => Err(error),
        };
        self.tree.put(&mutant.file, &switched)?;
        let (outcome, by) = tested?;
        self.note(mutant, outcome, &by, begun).await
    }

    async fn note(&self, mutant: &Mutant, outcome: Outcome, by: &str, begun: Instant) -> Result<()> {
        let seconds = begun.elapsed().as_secs_f64();
        let line = format!("{outcome:?} {} ({seconds:.1} s): {} {by}", mutant.place(), mutant.description);
        self.bar.inc(1);
        self.bar.set_message(line.clone());
        if self.bar.is_hidden() {
            println!("{line}");
        } else if outcome == Outcome::Missed {
            self.bar.println(line);
        }
        let mut results = self.results.lock().await;
        results.add(Record {
            key: mutant.key.clone(),
            part: mutant.part,
            place: mutant.place(),
            description: mutant.description.clone(),
            outcome,
            by: by.to_owned(),
            seconds: (seconds * 10.0).round() / 10.0,
        })?;
        fs::write(self.directory.join("report.md"), results.report(&self.mutants, &self.how))?;
        Ok(())
    }
}
