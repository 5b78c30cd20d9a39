//! Our end of the devices' TLS: the certificate in use, and how it is renewed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::files::{Pair, TlsError, Validity, read_pair, read_roots};
use super::{EXPIRY_WARNING_S, provider, remaining};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often a certificate that is about to expire is spoken of.
const REMIND_EVERY_S: i64 = 24 * 60 * 60;

/// Where certificate and keys lie; PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerFiles {
    /// Our certificate, then those that lead to the root.
    pub certificate: PathBuf,
    /// Its private key, readable by nobody else.
    pub key: PathBuf,
    /// Who signs the devices' certificates; with it every device must have one.
    pub client_ca: Option<PathBuf>,
}

/// The TLS of a port: shared by its connections and by whoever renews it.
#[derive(Debug)]
pub struct ServerTls {
    files: ServerFiles,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<ServerConfig>,
    validity: Validity,
    seen: Stamps,
    /// Why the files as they are now are not in use.
    problem: Option<String>,
    /// They are in order but for the time, ours or theirs: that alone may mend it.
    is_time_to_come: bool,
    reminded_s: i64,
}

/// How the certificate is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsStatus {
    /// Seconds until it expires; negative when it has.
    pub left_s: i64,
    /// Why newer files are not in use.
    pub problem: Option<String>,
}

impl TlsStatus {
    /// Whether devices can be expected to take it.
    pub const fn is_ok(&self) -> bool {
        self.left_s >= 0 && self.problem.is_none()
    }
}

impl std::fmt::Display for TlsStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&remaining(self.left_s))?;
        match &self.problem {
            Some(problem) => write!(f, "; the new files are not in use: {problem}"),
            None => Ok(()),
        }
    }
}

/// What tells a file from its successor.
type Stamp = Option<(SystemTime, u64, u64)>;
type Stamps = [Stamp; 3];

impl ServerTls {
    /// Reads the files. An expired certificate is taken, and said: a clock that is wrong must not
    /// keep the agent from starting.
    pub fn load(files: ServerFiles) -> Result<Self, TlsError> {
        let seen = stamps(&files);
        let (config, validity) = read(&files)?;
        let inner =
            Inner { config, validity, seen, problem: None, is_time_to_come: false, reminded_s: 0 };
        Ok(Self { files, inner: Mutex::new(inner) })
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.inner().config)
    }

    /// Whether a device must show a certificate, which must name it.
    pub const fn wants_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Takes up files that changed since they were last looked at, or in any case; whether what is
    /// in use changed. Files that cannot be used change nothing; those that only their time, or our
    /// clock, keeps from being used are tried again at each call. Reads three small files: blocks
    /// for no longer than that.
    pub fn refresh(&self, in_any_case: bool, now_s: i64) -> bool {
        let seen = stamps(&self.files);
        let is_again = !in_any_case && seen == self.inner().seen;
        if is_again && !self.inner().is_time_to_come {
            return false;
        }
        let read = read(&self.files).and_then(|(config, validity)| {
            validity.holds(now_s, &self.files.certificate)?;
            Ok((config, validity))
        });
        let mut inner = self.inner();
        inner.seen = seen;
        inner.is_time_to_come = matches!(read, Err(TlsError::OutOfTime { .. }));
        match read {
            Ok((config, validity)) => {
                let left = remaining(validity.left_s(now_s));
                tracing::info!(certificate = %self.files.certificate.display(), left, "certificate taken up");
                (inner.config, inner.validity, inner.problem) = (config, validity, None);
                true
            }
            Err(error) => {
                let problem = Some(error.to_string());
                // Tried every ten seconds, said once.
                if !is_again || problem != inner.problem {
                    tracing::warn!(
                        problem,
                        "changed certificate files are not used; the old ones stay"
                    );
                }
                inner.problem = problem;
                false
            }
        }
    }

    /// How the certificate is doing.
    pub fn status(&self, now_s: i64) -> TlsStatus {
        let inner = self.inner();
        TlsStatus { left_s: inner.validity.left_s(now_s), problem: inner.problem.clone() }
    }

    /// Says once a day that the certificate is about to expire.
    fn remind(&self, now_s: i64) {
        let mut inner = self.inner();
        let left_s = inner.validity.left_s(now_s);
        let is_due = now_s.saturating_sub(inner.reminded_s) >= REMIND_EVERY_S;
        if left_s < EXPIRY_WARNING_S && is_due {
            inner.reminded_s = now_s;
            let certificate = self.files.certificate.display();
            tracing::warn!(%certificate, "the certificate {}", remaining(left_s));
        }
    }

    // The state is whole between any two statements, so a poisoned lock is no reason to stop.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the files every ten seconds and on SIGHUP, until the stop.
///
/// Cancel safe.
pub async fn keep_fresh(tls: Arc<ServerTls>, stop: CancellationToken) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "no word of SIGHUP: certificates are looked at now and then");
            None
        }
    };
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            () = hung_up(&mut hangup) => true,
            _ = tick.tick() => false,
        };
        let now_s = unix_s();
        tls.refresh(told, now_s);
        tls.remind(now_s);
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    let heard = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Whether a listener could use these files now.
pub fn check_server(files: &ServerFiles, now_s: i64) -> Result<(), TlsError> {
    let (_, validity) = read(files)?;
    validity.holds(now_s, &files.certificate)
}

fn read(files: &ServerFiles) -> Result<(Arc<ServerConfig>, Validity), TlsError> {
    let provider = provider();
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::Refused { path, error }
    };
    let Pair { key, validity } = read_pair(&files.certificate, &files.key, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused(&files.certificate))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = verifier.build().map_err(|error| TlsError::Unusable {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    // A resumed session would not be held to a certificate that has expired since, nor to a new
    // authority; and connections are long.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), validity))
}

fn stamps(files: &ServerFiles) -> Stamps {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    };
    let client_ca = files.client_ca.as_deref().and_then(stamp);
    [stamp(&files.certificate), stamp(&files.key), client_ca]
}

/// The wall clock, by which certificates are judged.
#[allow(clippy::disallowed_methods, reason = "driver: certificates are judged by the wall clock")]
pub(crate) fn unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
