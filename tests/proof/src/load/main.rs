//! `milepost-load`: clients in their thousands, backlogs in gibibytes, for `cargo xtask load`.
//!
//! What it plays are [`milepost_proof::light`] devices with the firmware's own session and MQTT
//! client, on real sockets.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

mod backlog;
mod client;
mod clients;
mod idle;
mod tally;
mod verify;

/// Loads an agent.
#[derive(Parser)]
#[command(name = "milepost-load")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The devices' names, one a line.
    Names {
        /// How many.
        #[arg(long)]
        devices: u32,
    },
    /// Real TCP clients; what they are to do comes on standard input, how they fare goes to standard
    /// output.
    Clients(clients::Clients),
    /// Clients that never say anything worth hearing.
    Idle(idle::Idle),
    /// Holds the documents of a file sink against what devices measured.
    Verify(verify::Verify),
    /// Fills a stopped agent's journal, through its acceptor.
    Backlog(backlog::Backlog),
}

/// Where an agent listens, and whence one comes.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Way {
    /// The agent's port.
    #[arg(long)]
    connect: SocketAddr,
    /// The address to come from.
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
}

impl Way {
    async fn open(self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.connect).await?;
        // Without it an acknowledgement may wait for the kernel's delay.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Who comes.
#[derive(Clone, Debug, clap::Args)]
struct Fleet {
    #[command(flatten)]
    way: Way,
    /// The devices' key file.
    #[arg(long)]
    keys: PathBuf,
    /// The first device's number.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// How many devices.
    #[arg(long)]
    devices: u32,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::Names { devices } => names(devices),
        What::Clients(clients) => clients.run(),
        What::Idle(idle) => idle.run(),
        What::Verify(verify) => verify.run(),
        What::Backlog(backlog) => backlog.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As many open files as this process may have.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// The lines of standard input, as they come: reading them blocks a thread of its own.
fn lines_of_stdin() -> anyhow::Result<mpsc::UnboundedReceiver<String>> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(lines)
}

fn names(devices: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    for device in (0..devices).filter_map(milepost_proof::light::name) {
        writeln!(out, "{device}")?;
    }
    Ok(out.flush()?)
}
