//! The socket between the command line and a running agent: drivers, no decisions.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Admin, CONNECTIONS_MAX, LINE_LEN_MAX, Request, Response, SILENCE_MAX};
use crate::backup::Progress;
use crate::registry::OsEntropy;

const NAME: &str = "admin.sock";
/// How long a client waits for an answer.
const ANSWER_MAX: Duration = Duration::from_mins(2);
/// How often something that takes its time says how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// After a failed accept: most likely we are out of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Why the socket does not work.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Resource: it can't be made.
    #[error("cannot make the admin socket {}: {error}", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Transport: nobody listens.
    #[error("no agent answers at {}: {error}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Transport: the connection broke.
    #[error("the agent did not answer: {0}")]
    Broken(#[from] io::Error),
    /// Peer: the answer is not understood.
    #[error("the agent's answer is not understood; is it another version? {0}")]
    Answer(#[from] serde_json::Error),
}

/// The agent's end. Bound before anything is served, so that a client that finds the data
/// directory locked soon finds the socket too.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket. The caller owns the data directory, so a socket that is there already is
    /// a dead agent's and is replaced.
    ///
    /// Errors: the directory can't be written. Must be called within a tokio runtime.
    pub fn bind(data_dir: &Path) -> Result<Self, SocketError> {
        let path = data_dir.join(NAME);
        let bind = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = with_short_path(data_dir, UnixListener::bind)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let bound = bind();
        match bound {
            Ok(listener) => Ok(Self { listener, path }),
            Err(error) => Err(SocketError::Bind { path, error }),
        }
    }

    /// Answers until told to stop, then finishes what it is answering and removes the socket.
    ///
    /// Cancel safe: what is being answered is still done, its answer is dropped.
    pub async fn serve(self, admin: Admin, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let conversations = TaskTracker::new();
        loop {
            let next = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (admin, stop) = (admin.clone(), stop.clone());
                    conversations.spawn(async move {
                        let _permit = permit;
                        if let Err(error) = converse(stream, admin, stop).await {
                            tracing::debug!(%error, "admin connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin socket");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        conversations.close();
        conversations.wait().await;
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "admin socket not removed");
        }
    }
}

/// Serves one connection: a line in, a line out, until its end.
async fn converse(
    stream: tokio::net::UnixStream,
    admin: Admin,
    stop: CancellationToken,
) -> io::Result<()> {
    // The mode keeps others out; this covers the moment between bind and chmod.
    let uid = stream.peer_cred()?.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = tokio::io::BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
        let mut limited = (&mut reader).take(limit);
        let read = tokio::select! {
            read = tokio::time::timeout(SILENCE_MAX, limited.read_until(b'\n', &mut line)) => read??,
            () = stop.cancelled() => return Ok(()),
        };
        if read == 0 {
            return Ok(());
        }
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => answer(admin.clone(), request, &mut writer).await?,
            Err(error) => Response::Refused { reason: format!("not understood: {error}") },
        };
        say(&mut writer, &response).await?;
    }
}

async fn say(writer: &mut OwnedWriteHalf, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    tokio::time::timeout(SILENCE_MAX, writer.write_all(&line)).await?
}

/// Answers, and says meanwhile how far it has come. Nobody there to hear it ends the work.
async fn answer(
    admin: Admin,
    request: Request,
    writer: &mut OwnedWriteHalf,
) -> io::Result<Response> {
    let (told, mut progress) = watch::channel(Progress::default());
    let mut answering = tokio::task::spawn_blocking(move || {
        let mut watch = |progress| told.send(progress).is_ok();
        admin.answer_slowly(request, now_ms(), &mut OsEntropy, &mut watch)
    });
    let mut tick = tokio::time::interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    loop {
        tokio::select! {
            answered = &mut answering => return answered.map_err(io::Error::other),
            _ = tick.tick() => {
                let progress = progress.borrow_and_update().clone();
                // Said again if nothing has changed: it shows that somebody still listens.
                say(writer, &Response::Progress { progress }).await?;
            }
        }
    }
}

/// Now, in Unix milliseconds.
fn now_ms() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "driver: the one clock of admin requests")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The command line's end; blocks.
#[derive(Debug)]
pub struct Client {
    reader: io::BufReader<UnixStream>,
}

impl Client {
    /// Connects to the agent that owns this data directory.
    pub fn connect(data_dir: &Path) -> Result<Self, SocketError> {
        let connect = || {
            let stream = with_short_path(data_dir, UnixStream::connect)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            stream.set_write_timeout(Some(ANSWER_MAX))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { reader: io::BufReader::new(stream) }),
            Err(error) => Err(SocketError::Connect { path: data_dir.join(NAME), error }),
        }
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, request: &Request) -> Result<Response, SocketError> {
        self.ask_slowly(request, &mut |_| ())
    }

    /// Asks, hears how far it has come, and waits for the answer.
    pub fn ask_slowly(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Response, SocketError> {
        self.send(request)?;
        loop {
            match self.receive()? {
                Response::Progress { progress } => watch(progress),
                response => return Ok(response),
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), SocketError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Response, SocketError> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Err(SocketError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// A socket's path has room for about 100 bytes, a data directory's may be longer: name the
/// directory by its open descriptor.
fn with_short_path<T>(
    data_dir: &Path,
    open: impl FnOnce(PathBuf) -> io::Result<T>,
) -> io::Result<T> {
    let dir = fs::File::open(data_dir)?;
    open(PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(NAME))
}
