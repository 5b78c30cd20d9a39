//! `milepost-mutants`: tries mutants, and says which no test notices. Behind `cargo xtask mutants`.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use milepost_mutants::areas::{self, AREAS};
use milepost_mutants::build::Binary;
use milepost_mutants::changed::Changed;
use milepost_mutants::list::{Mutant, Name};
use milepost_mutants::memory::Memory;
use milepost_mutants::reach::{self, Test};
use milepost_mutants::report::Report;
use milepost_mutants::trial::{self, Outcome};
use milepost_mutants::{alone::Alone, changed, justified, list, settle};

/// How often a run says where it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Tries mutants of the pure stages: whether a test notices.
///
/// Exit code 0: each of those asked for is noticed or has a reason in tests/mutants.toml; 1: one is not, or it
/// failed; 3: all that were tried are, and some were not tried.
#[derive(Parser)]
#[command(name = "milepost-mutants", bin_name = "cargo xtask mutants")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Arguments {
    /// Only this package's.
    #[arg(long)]
    package: Option<String>,
    /// Only this area's: protocol, store, dedup, journal, forward.
    #[arg(long)]
    area: Option<String>,
    /// Only this file's.
    #[arg(long)]
    file: Vec<String>,
    /// Only the k-th of n shares, as k/n.
    #[arg(long, value_parser = share)]
    shard: Option<(usize, usize)>,
    /// Only of lines that are not as in this revision.
    #[arg(long, conflicts_with = "landing")]
    in_diff: Option<String>,
    /// Only of lines that this landing changes: since it left main, or on main since the commit
    /// before.
    #[arg(long)]
    landing: bool,
    /// Begin no more after so many seconds; what is left is said.
    #[arg(long)]
    seconds: Option<u64>,
    /// Try so many at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// As if nothing were known from earlier runs.
    #[arg(long)]
    fresh: bool,
    /// Only say what is known.
    #[arg(long)]
    known: bool,
    /// One JSON object per area.
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<(usize, usize), String> {
    let (k, n) = text.split_once('/').ok_or("a share is k/n, like 1/4")?;
    let (k, n) = (k.parse().unwrap_or(0), n.parse().unwrap_or(0));
    if (1..=n).contains(&k) { Ok((k - 1, n)) } else { Err("k is one of 1 to n".into()) }
}

/// What was tried holds, and some were not tried.
const NOT_ALL: u8 = 3;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(Verdict::Holds) => ExitCode::SUCCESS,
        Ok(Verdict::Fails) => ExitCode::FAILURE,
        Ok(Verdict::NotAll) => ExitCode::from(NOT_ALL),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What comes out.
enum Verdict {
    /// Every one was noticed, or has a reason.
    Holds,
    /// One survived, or a reason is for none.
    Fails,
    /// All that were tried hold, and there are others.
    NotAll,
}

fn run(arguments: &Arguments) -> Result<Verdict> {
    arguments.check()?;
    let root = world::binaries::root();
    let revision = arguments.revision(&root)?;
    let changed = revision.as_ref().map(|revision| changed::since(&root, revision)).transpose()?;
    if let (Some(revision), Some(changed)) = (&revision, &changed) {
        eprintln!("== mutants of what changed since {revision}");
        if !changed.files().any(areas::is_mutated) {
            eprintln!("   nothing that is mutated");
            return Ok(Verdict::Holds);
        }
    } else if arguments.landing {
        eprintln!("== no commit before this one is known: nothing to compare with, no mutants");
        return Ok(Verdict::NotAll);
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let all = list::list(&root, &target)?;
    let reasons = justified::read(&root)?;
    let chosen = choose(arguments, changed.as_ref(), &all);
    let mut memory = Memory::open(&root, &target, &all, arguments.fresh)?;
    if !arguments.known {
        let course = Course { arguments, root: &root, target: &target, all: &all };
        for package in areas::packages() {
            course.run(package, &chosen, &mut memory)?;
        }
    }
    let report = Report::new(&all, &chosen, &reasons, |name| memory.outcome(name));
    report.print(arguments.json)?;
    if report.left() > 0 {
        eprintln!(
            "{} of {} mutants are not tried; the same command goes on",
            report.left(),
            chosen.len()
        );
    }
    Ok(match (report.holds(), report.left()) {
        (false, _) => Verdict::Fails,
        (true, 0) => Verdict::Holds,
        (true, _) => Verdict::NotAll,
    })
}

impl Arguments {
    /// Whether there is what is asked for.
    fn check(&self) -> Result<()> {
        let areas = AREAS.map(|area| area.name);
        if let Some(area) = self.area.as_ref().filter(|area| !areas.contains(&area.as_str())) {
            bail!("there is no area {area}; there are {}", areas.join(", "));
        }
        let packages = areas::packages();
        if let Some(package) = self.package.as_ref().filter(|of| !packages.contains(&of.as_str())) {
            bail!("nothing of package {package} is mutated; of these is: {}", packages.join(", "));
        }
        if let Some(file) = self.file.iter().find(|file| !areas::is_mutated(file)) {
            bail!("{file} is in no area; a file is named from the root, like protocol/src/ack.rs");
        }
        Ok(())
    }

    /// What to compare with, if only changed lines are asked for.
    fn revision(&self, root: &Path) -> Result<Option<String>> {
        if self.landing { changed::base(root) } else { Ok(self.in_diff.clone()) }
    }
}

/// The mutants asked for.
fn choose<'a>(
    arguments: &Arguments,
    changed: Option<&Changed>,
    all: &'a [Mutant],
) -> Vec<&'a Mutant> {
    let chosen = all.iter().filter(|mutant| {
        let area = mutant.area();
        arguments.area.as_ref().is_none_or(|name| area.is_some_and(|area| area.name == name))
            && arguments
                .package
                .as_ref()
                .is_none_or(|name| area.is_some_and(|area| area.package == name))
            && (arguments.file.is_empty() || arguments.file.contains(&mutant.name.file))
            && changed.is_none_or(|changed| changed.has(mutant))
    });
    let (k, n) = arguments.shard.unwrap_or((0, 1));
    chosen.skip(k).step_by(n).collect()
}

/// A run over one package after the other.
struct Course<'a> {
    arguments: &'a Arguments,
    root: &'a Path,
    target: &'a Path,
    all: &'a [Mutant],
}

impl Course<'_> {
    fn run(&self, package: &str, chosen: &[&Mutant], memory: &mut Memory) -> Result<()> {
        let of_package =
            |mutant: &&Mutant| mutant.area().is_some_and(|area| area.package == package);
        let chosen: Vec<&Mutant> = chosen.iter().copied().filter(of_package).collect();
        if chosen.iter().all(|mutant| memory.outcome(&mutant.name).is_some()) {
            return Ok(());
        }
        let woven: Vec<Mutant> = self.all.iter().filter(of_package).cloned().collect();
        eprintln!("== {package}: one build of {} mutants", woven.len());
        let numbers = |known: &dyn Fn(&Name) -> bool| -> BTreeSet<u32> {
            woven.iter().filter(|mutant| known(&mutant.name)).map(|mutant| mutant.number).collect()
        };
        let alone = numbers(&|name| memory.is_alone(name));
        let refused = numbers(&|name| matches!(memory.outcome(name), Some(Outcome::Unviable)));
        let settled = settle::settle(self.root, self.target, &[package], &woven, alone, refused)?;
        for mutant in &woven {
            if settled.alone.contains(&mutant.number) && !memory.is_alone(&mutant.name) {
                memory.remember(&mutant.name, Outcome::Alone)?;
            }
            if settled.refused.contains(&mutant.number) && memory.outcome(&mutant.name).is_none() {
                memory.remember(&mutant.name, Outcome::Unviable)?;
            }
        }
        let binary = settled.binaries.first().context("no tests were built")?;
        let tests = reach::of(binary, self.target)?;
        memory.forget_tests_but(package, &tests.iter().map(|test| test.name.as_str()).collect());
        let pending = chosen.into_iter().filter(|mutant| memory.outcome(&mutant.name).is_none());
        let (alone, together): (Vec<_>, Vec<_>) =
            pending.partition(|mutant| settled.alone.contains(&mutant.number));
        self.together(binary, &tests, &together, memory)?;
        self.alone(package, &tests, &alone, memory)
    }

    /// Mutants that are in one build.
    fn together(
        &self,
        binary: &Binary,
        tests: &[Test],
        mutants: &[&Mutant],
        memory: &mut Memory,
    ) -> Result<()> {
        let by_mutant = reach::by_mutant(tests);
        let watch = Watch::new(self.arguments.seconds, mutants.len());
        let next = AtomicUsize::new(0);
        let memory = Mutex::new(memory);
        let work = |job: usize| -> Result<()> {
            while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                if watch.is_over() {
                    break;
                }
                let scratch = Scratch::new(self.target, job)?;
                let tests = by_mutant.get(&mutant.number).map_or(&[][..], Vec::as_slice);
                let outcome = trial::run(binary, tests, Some(mutant.number), &scratch.0)?;
                watch.tried(&mutant.name, &outcome);
                let mut memory = memory.lock().map_err(|_| anyhow::anyhow!("a job panicked"))?;
                memory.remember(&mutant.name, outcome)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let work = &work;
            let jobs: Vec<_> =
                (0..self.arguments.jobs.max(1)).map(|job| scope.spawn(move || work(job))).collect();
            jobs.into_iter()
                .try_for_each(|job| job.join().map_err(|_| anyhow::anyhow!("a job panicked"))?)
        })
    }

    /// Mutants that are in none.
    fn alone(
        &self,
        package: &str,
        tests: &[Test],
        mutants: &[&Mutant],
        memory: &mut Memory,
    ) -> Result<()> {
        if mutants.is_empty() {
            return Ok(());
        }
        eprintln!("== {package}: {} mutants one by one", mutants.len());
        let alone = Alone::new(self.root, self.target)?;
        let watch = Watch::new(self.arguments.seconds, mutants.len());
        for mutant in mutants {
            if watch.is_over() {
                break;
            }
            let scratch = Scratch::new(self.target, 0)?;
            let outcome = alone.run(mutant, package, tests, &scratch.0)?;
            watch.tried(&mutant.name, &outcome);
            memory.remember(&mutant.name, outcome)?;
        }
        Ok(())
    }
}

/// Where tests put their files: in memory, where that is to be had, and gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(target: &Path, job: usize) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { target.join("mutants") };
        let dir = place.join(format!("milepost-mutants-{}-{job}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// How long a run takes, and what it says meanwhile.
struct Watch {
    begin: Instant,
    limit: Option<Duration>,
    count: usize,
    done: Mutex<(usize, BTreeMap<&'static str, usize>, Duration)>,
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "a bound on the run, at its edge")]
    fn new(seconds: Option<u64>, count: usize) -> Self {
        let limit = seconds.map(Duration::from_secs);
        Self { begin: Instant::now(), limit, count, done: Mutex::default() }
    }

    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.begin.elapsed() >= limit)
    }

    fn tried(&self, name: &Name, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Caught(_) => "caught",
            Outcome::Timeout(_) => "timeout",
            Outcome::Missed(_) => "missed",
            Outcome::Unviable => "unviable",
            Outcome::Alone => "alone",
        };
        if matches!(outcome, Outcome::Missed(_)) {
            eprintln!("   missed: {name}");
        }
        let Ok(mut done) = self.done.lock() else { return };
        done.0 += 1;
        *done.1.entry(word).or_default() += 1;
        let elapsed = self.begin.elapsed();
        if elapsed >= done.2 + PROGRESS || done.0 == self.count {
            done.2 = elapsed;
            let counts: Vec<String> =
                done.1.iter().map(|(word, n)| format!("{n} {word}")).collect();
            eprintln!(
                "   {} of {} in {} s: {}",
                done.0,
                self.count,
                elapsed.as_secs(),
                counts.join(", ")
            );
        }
    }
}
