//! The agent's process: started by the other, and asked through a pipe.

use std::io::{self, BufReader, BufWriter};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::host::Host;
use super::wire::{Answer, Ask, receive, send};

/// What the program calls itself as an agent.
pub(super) const SUBCOMMAND: &str = "outage-agent";

/// Is the agent, until the other end of the pipe is gone.
pub fn serve() -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(io::stdin()), BufWriter::new(io::stdout()));
    let (mut host, mut dir): (Option<Host>, Option<PathBuf>) = (None, None);
    loop {
        let ask = match receive(&mut from) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // Whoever asked was interrupted, or it would have put an end to this process.
                drop(host);
                return dir.map_or(Ok(()), std::fs::remove_dir_all);
            }
            ask => ask?,
        };
        let answer = match (ask, &mut host) {
            (Ask::Begin(begin), _) => Host::begin(&begin).map(|(begun, secrets)| {
                (host, dir) = (Some(begun), Some(begin.dir.clone()));
                Answer::Begun(secrets)
            }),
            (Ask::Turn(turn), Some(host)) => host.turn(turn).map(Answer::Turned),
            (Ask::Turn(_), None) => Err("no agent has begun".into()),
        };
        send(&mut to, &answer.unwrap_or_else(|error| Answer::Failed(error.to_string())))?;
    }
}

/// The agent's process, from outside.
#[derive(Debug)]
pub(super) struct AgentProcess {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rss {
    pub now: u64,
    pub most: u64,
}

impl AgentProcess {
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new(program()?);
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Out of the terminal's reach: it cleans up when this one is interrupted.
        command.process_group(0);
        let mut child = command.spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (to, from) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
        Ok(Self { child, to: BufWriter::new(to), from: BufReader::new(from) })
    }

    pub(super) fn ask(&mut self, ask: &Ask) -> io::Result<Answer> {
        send(&mut self.to, ask)?;
        match receive(&mut self.from)? {
            Answer::Failed(why) => Err(io::Error::other(format!("the agent: {why}"))),
            answer => Ok(answer),
        }
    }

    pub(super) fn rss(&self) -> io::Result<Rss> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_end_matches("kB").trim().parse().ok()
        };
        let read = field("VmRSS:").zip(field("VmHWM:"));
        let (now, most) = read.ok_or_else(|| io::Error::other("no VmRSS"))?;
        Ok(Rss { now, most })
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // It is ours, and what it has on disk goes too.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `milepost-prove` itself: this program, or beside it if this is a test.
fn program() -> io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let name = "milepost-prove";
    if this.file_stem().is_some_and(|stem| stem == name) {
        return Ok(this);
    }
    let built = this.parent().and_then(Path::parent).map(|dir| dir.join(name));
    built.filter(|path| path.exists()).ok_or_else(|| io::Error::other("no milepost-prove is built"))
}
