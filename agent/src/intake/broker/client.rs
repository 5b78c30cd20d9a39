//! The driver of a broker intake: one MQTT connection after the other, and the channels.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use protocol::frame::FRAME_LEN_MAX;
use protocol::topic::{Channel, Topic};
use protocol::{DeviceId, Lane};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, Publish, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::desk::{Arrival, Broken, Desk};
use super::gauges::{BrokerGauges, BrokerHealth};
use super::{BrokerConfig, Devices};
use crate::forward::Backoff;
use crate::intake::{Admit, Inbound, SharedReceiver, SharedReplies};
use crate::tls::client_config;

/// The longest packet that is taken: a frame, and room for topic and properties.
const PACKET_LEN_MAX: usize = FRAME_LEN_MAX + 1024;
/// Requests that wait in the client.
const REQUESTS_MAX: usize = 64;
/// Publishes that wait for room in there; then the acceptor's channel waits.
const UNSENT_MAX: usize = 256;
/// Filters in one SUBSCRIBE.
const FILTERS_MAX: usize = 64;
const CONNECT_MAX_S: u64 = 10;
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("{0}")]
    Config(String),
    #[error("the broker refuses the connection: {}", refusal(*.0))]
    Refused(ConnectReturnCode),
    #[error(
        "the broker refuses the subscription to {filter} ({reason:?}): it must let this client read m0/+/c, b, l and h"
    )]
    Subscription { filter: String, reason: SubscribeReasonCode },
    #[error("{0}")]
    Connection(String),
}

/// Takes what devices publish to a broker, until `stop`. Comes back once the broker was told so, or
/// did not listen for half a second.
///
/// Not cancel safe: stop it by `stop`.
pub async fn serve<A: Admit>(
    config: BrokerConfig,
    admit: A,
    inbound: mpsc::Sender<Inbound>,
    gauges: Arc<BrokerGauges>,
    seed: u64,
    stop: CancellationToken,
) {
    let (replies, from_acceptor) = SharedReplies::new(gauges.unsent.clone());
    let desk =
        Desk::new(admit, Arc::clone(&gauges), replies, config.in_flight_max, config.sessions_max);
    let mut intake = Intake { desk, inbound, from_acceptor, gauges, unsent: VecDeque::new() };
    let mut backoff = Backoff::new(BACKOFF_MAX, seed);
    let (broker, url) = (&config.name, &config.url);
    info!(broker, %url, "taking messages from a broker");
    loop {
        let failure = intake.connection(&config, &mut backoff, &stop).await;
        intake.desk.disconnected();
        intake.unsent.clear();
        let reason = match failure {
            Failure::Stopped => break,
            failure => failure.to_string(),
        };
        intake.gauges.failed.fetch_add(1, Relaxed);
        if intake.gauges.set_health(BrokerHealth::Failing(reason.clone())) {
            warn!(broker, %url, reason, "no connection to the broker; trying again");
        }
        if intake.wait(backoff.next(), &stop).await.is_err() {
            break;
        }
    }
    intake.desk.close_all();
    while let Some(message) = intake.desk.next_inbound() {
        // The acceptor ends with the intakes: what it has no room for it need not hear.
        drop(intake.inbound.try_send(message));
    }
    intake.gauges.set_health(BrokerHealth::Stopped);
    info!(broker, "stopped taking messages from the broker");
}

/// What outlives a connection.
struct Intake<A> {
    desk: Desk<A>,
    inbound: mpsc::Sender<Inbound>,
    from_acceptor: SharedReceiver,
    gauges: Arc<BrokerGauges>,
    /// Replies for which the client has no room.
    unsent: VecDeque<(Topic, Vec<u8>)>,
}

impl<A: Admit> Intake<A> {
    /// One connection, from its beginning to its end.
    async fn connection(
        &mut self,
        config: &BrokerConfig,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Failure {
        let options = match options(config, &self.gauges) {
            Ok(options) => options,
            Err(problem) => return Failure::Config(problem),
        };
        let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
        let mut subscription = Subscription::new(config);
        loop {
            let event = {
                // Never dropped half-way: what the client took up would be lost.
                let mut next = pin!(events.poll());
                loop {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break None,
                        Some((session, reply)) = self.from_acceptor.recv(),
                            if self.unsent.len() < UNSENT_MAX =>
                        {
                            match self.desk.reply(session, reply) {
                                Ok(publish) => self.unsent.extend(publish),
                                Err(broken) => return broken.into(),
                            }
                        }
                        room = self.inbound.reserve(), if self.desk.has_inbound() => {
                            // An error means that the acceptor is gone: the agent ends.
                            let Ok(room) = room else { break None };
                            if let Some(message) = self.desk.next_inbound() {
                                room.send(message);
                            }
                        }
                        event = &mut next => break Some(event),
                    }
                    self.pass_on(&client);
                }
            };
            match event {
                None => {
                    goodbye(&client, &mut events).await;
                    return Failure::Stopped;
                }
                Some(Err(error)) => return failure(error),
                Some(Ok(event)) => {
                    match self.take(&event, &client, &mut subscription) {
                        Ok(Progress::Subscribed { known }) => {
                            backoff.reset();
                            self.connected(config, known);
                        }
                        Ok(Progress::None) => {}
                        Err(failure) => return failure,
                    }
                    self.pass_on(&client);
                }
            }
        }
    }

    fn take(
        &mut self,
        event: &Event,
        client: &AsyncClient,
        subscription: &mut Subscription,
    ) -> Result<Progress, Failure> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                subscription.begin(client, connack.session_present)?;
            }
            Event::Incoming(Packet::SubAck(suback)) => {
                return subscription.granted(client, &suback.return_codes);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let Publish { topic, payload, qos, pkid, .. } = publish;
                let packet_id = (*qos != QoS::AtMostOnce).then_some(*pkid);
                self.desk.arrive(Arrival { topic, payload, packet_id })?;
            }
            _ => {}
        }
        Ok(Progress::None)
    }

    fn connected(&self, config: &BrokerConfig, known: bool) {
        let (broker, url) = (&config.name, &config.url);
        if self.gauges.connected.fetch_add(1, Relaxed) > 0 && !known {
            self.gauges.forgotten.fetch_add(1, Relaxed);
            warn!(broker, %url, "connected; the broker has forgotten the session, devices send again");
        } else {
            info!(broker, %url, session_known = known, "connected to the broker");
        }
        self.gauges.set_health(BrokerHealth::Connected);
    }

    /// Gives the client what it has room for: PUBACKs first, in their order.
    fn pass_on(&mut self, client: &AsyncClient) {
        while let Some(packet_id) = self.desk.next_puback() {
            let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new(), None);
            publish.pkid = packet_id;
            if client.try_ack(&publish).is_err() {
                return;
            }
            self.desk.acknowledged();
        }
        while let Some((topic, payload)) = self.unsent.pop_front() {
            let name = topic.name();
            if client.try_publish(name.as_str(), QoS::AtMostOnce, false, payload.clone()).is_err() {
                self.unsent.push_front((topic, payload));
                return;
            }
        }
    }

    /// Waits before the next attempt, and meanwhile keeps up with the acceptor. `Err`: stop.
    async fn wait(&mut self, time: Duration, stop: &CancellationToken) -> Result<(), ()> {
        let mut waited = pin!(sleep(time));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(()),
                () = &mut waited => return Ok(()),
                Some((session, reply)) = self.from_acceptor.recv() => {
                    // There is nobody to tell; what is lost is asked for again.
                    if let Ok(Some(_)) = self.desk.reply(session, reply) {
                        self.gauges.unsent.add(1);
                    }
                }
                room = self.inbound.reserve(), if self.desk.has_inbound() => {
                    let Ok(room) = room else { return Err(()) };
                    if let Some(message) = self.desk.next_inbound() {
                        room.send(message);
                    }
                }
            }
        }
    }
}

/// What an event came to.
enum Progress {
    None,
    /// Everything is subscribed to.
    Subscribed {
        known: bool,
    },
}

/// The subscription of one connection, a packet at a time.
struct Subscription {
    filters: Vec<String>,
    /// How many of them were asked for, and how many granted.
    asked: usize,
    granted: usize,
    known: bool,
}

impl Subscription {
    fn new(config: &BrokerConfig) -> Self {
        let uplinks = Lane::ALL.map(Channel::Frames).into_iter().chain([Channel::Hello]);
        let filters = uplinks.flat_map(|channel| match &config.devices {
            Devices::All => vec![Topic::filter(channel).as_str().to_owned()],
            Devices::Some(devices) => devices.iter().map(|device| own(*device, channel)).collect(),
        });
        Self { filters: filters.collect(), asked: 0, granted: 0, known: false }
    }

    fn begin(&mut self, client: &AsyncClient, known: bool) -> Result<(), Failure> {
        self.known = known;
        self.go_on(client)
    }

    fn go_on(&mut self, client: &AsyncClient) -> Result<(), Failure> {
        let filters = self.filters.iter().skip(self.asked).take(FILTERS_MAX).map(|path| Filter {
            path: path.clone(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        });
        let filters: Vec<Filter> = filters.collect();
        self.asked += filters.len();
        let asked = client.try_subscribe_many(filters);
        asked.map_err(|error| Failure::Connection(format!("cannot subscribe: {error}")))
    }

    fn granted(
        &mut self,
        client: &AsyncClient,
        codes: &[SubscribeReasonCode],
    ) -> Result<Progress, Failure> {
        for (filter, code) in self.filters.iter().skip(self.granted).zip(codes) {
            if !matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce)) {
                let filter = filter.clone();
                return Err(Failure::Subscription { filter, reason: *code });
            }
        }
        self.granted += codes.len();
        if self.granted >= self.filters.len() {
            return Ok(Progress::Subscribed { known: self.known });
        }
        self.go_on(client)?;
        Ok(Progress::None)
    }
}

fn own(device: DeviceId, channel: Channel) -> String {
    Topic { device, channel }.name().as_str().to_owned()
}

fn options(config: &BrokerConfig, gauges: &BrokerGauges) -> Result<MqttOptions, String> {
    let BrokerConfig { url, client_id, .. } = config;
    let mut options = MqttOptions::new(client_id.clone(), url.host.clone(), url.port);
    options.set_clean_start(false);
    options.set_manual_acks(true);
    options.set_keep_alive(config.keep_alive.max(Duration::from_secs(5)));
    options.set_connection_timeout(CONNECT_MAX_S);
    let expiry_s = u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX);
    options.set_session_expiry_interval(Some(expiry_s));
    options.set_receive_maximum(Some(config.in_flight_max));
    options.set_max_packet_size(u32::try_from(PACKET_LEN_MAX).ok());
    // We publish at QoS 0 only; this bounds what the client sets aside for more.
    options.set_outgoing_inflight_upper_limit(16);
    if let Some(login) = &config.login {
        let password = login.password()?;
        options.set_credentials(login.username.clone(), password.as_str());
    }
    if let Some(files) = &config.tls {
        let (tls, validity) = client_config(files).map_err(|error| error.to_string())?;
        let until_s = validity.map_or(i64::MAX, |validity| validity.until_s);
        gauges.certificate_until_s.store(until_s, Relaxed);
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    Ok(options)
}

/// Says goodbye, so that the broker need not wait for the keep alive to know.
async fn goodbye(client: &AsyncClient, events: &mut EventLoop) {
    if client.try_disconnect().is_err() {
        return;
    }
    let said = async {
        while let Ok(event) = events.poll().await {
            if event == Event::Outgoing(Outgoing::Disconnect) {
                break;
            }
        }
    };
    if timeout(GOODBYE_MAX, said).await.is_err() {
        debug!("the broker did not take the goodbye");
    }
}

fn failure(error: ConnectionError) -> Failure {
    match error {
        ConnectionError::ConnectionRefused(code) => Failure::Refused(code),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            Failure::Connection(format!("the broker ended the connection: {reason_code:?}"))
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            Failure::Connection("the broker does not answer pings".to_owned())
        }
        ConnectionError::Timeout(_) => {
            Failure::Connection(format!("no connection within {CONNECT_MAX_S} s"))
        }
        error => Failure::Connection(error.to_string()),
    }
}

fn refusal(code: ConnectReturnCode) -> String {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            format!("{code:?}; check username, password_file or certificate, and the broker's ACL")
        }
        ConnectReturnCode::UnsupportedProtocolVersion => "it does not speak MQTT 5".to_owned(),
        code => format!("{code:?}"),
    }
}
