//! Connections and messages between devices and agent.

use protocol::ack::Ack;
use protocol::frame::{self, Header, compact};
use protocol::topic::Channel;
use protocol::{CatalogueId, DeviceId, FrameTag, JournalInstance, keys};

use super::broker::{garble, happens};
use super::device::Device;
use super::host::{Arriving, Said};
use super::network::{Message, Weather};
use super::planted::Planted;
use super::world::World;

/// What a broker remembers of what agents said, at most.
const SAID_MAX: usize = 64;
/// Messages on the agent's side that it has not taken, at most.
const INBOX_MAX: usize = 256;

impl World {
    /// Connections come and go.
    pub(super) fn connect(&mut self, at: usize) {
        let now_s = self.now_s;
        let Some(device) = self.devices.get_mut(at) else { return };
        if device.session.is_some() && !device.wire.is_up {
            self.hang_up(at);
        }
        let is_cut = happens(&mut self.chance, self.weather.cut);
        let Some(device) = self.devices.get_mut(at) else { return };
        let is_offline = now_s < device.offline_until_s;
        if device.wire.is_up && (is_offline || is_cut) {
            self.drop_link(at);
            return;
        }
        if !device.wire.asked {
            return;
        }
        if is_offline || device.wire.is_silent() {
            device.wire.drop_it(false);
        } else if self.weather.is_broker {
            device.wire.open();
        } else {
            self.dial(at);
        }
    }

    /// A device finds an agent: any one of those that answer.
    fn dial(&mut self, at: usize) {
        let now_s = self.now_s;
        let agents = self.hosts.len();
        let first = self.chance.index(agents);
        let Some(device) = self.devices.get_mut(at) else { return };
        let (id, secret) = (device.id, device.credentials.secret.clone());
        let is_asked = |agent: &usize| self.only.is_none_or(|only| only == *agent);
        let order = (0..agents).map(|next| (first + next) % agents.max(1)).filter(is_asked);
        let found = order.into_iter().find_map(|agent| {
            let session = self.hosts.get_mut(agent)?.open_session(now_s, id, Some(&secret))?;
            Some((agent, session))
        });
        if found.is_none() {
            device.wire.drop_it(false);
            return;
        }
        (device.session, device.wire.asked) = (found, false);
        device.wire.open();
        self.take_over(at, id);
    }

    /// A session of a name ends another one of the same name with the same agent.
    fn take_over(&mut self, by: usize, id: DeviceId) {
        let with = |device: &Device| device.session.map(|(agent, _)| agent);
        let agent = self.devices.get(by).and_then(with);
        let same =
            |(at, device): &(usize, &Device)| *at != by && device.id == id && with(device) == agent;
        let others: Vec<usize> =
            self.devices.iter().enumerate().filter(same).map(|(at, _)| at).collect();
        for at in others {
            self.drop_link(at);
        }
    }

    /// Messages of a device go up; behind a broker, to every agent.
    pub(super) fn carry(&mut self, at: usize) {
        let now_s = self.now_s;
        while let Some(device) = self.devices.get_mut(at)
            && device.wire.uplink.front().is_some_and(|(due, _)| *due <= now_s)
        {
            if self.weather.is_broker {
                let Some((_, message)) = device.wire.uplink.pop_front() else { break };
                if !device.wire.is_silent() {
                    device.wire.took_over();
                    let id = device.id;
                    self.release_on_puback(at, &message);
                    let only = self.only;
                    let is_reached = |agent: &usize| only.is_none_or(|only| only == *agent);
                    let brokers = self.brokers.iter_mut().enumerate();
                    for (_, broker) in brokers.filter(|(agent, _)| is_reached(agent)) {
                        let weather = (&self.weather, &mut self.chance);
                        broker.publish(now_s, weather, id, message.clone(), &self.names);
                    }
                }
                continue;
            }
            let is_late = happens(&mut self.chance, self.weather.late);
            let Some((agent, session)) = device.session else { break };
            let Some(host) = self.hosts.get_mut(agent) else { break };
            if device.wire.is_silent() || is_late || host.inbox.len() >= INBOX_MAX {
                break;
            }
            let Some((_, message)) = device.wire.uplink.pop_front() else { break };
            self.packet = self.packet.wrapping_add(1);
            let (device, packet) = (device.id, self.packet);
            host.inbox.push_back(Arriving { session, device, message, packet });
        }
    }

    /// An agent says something to a session.
    pub(super) fn answer(&mut self, agent: usize, session: u64, said: Said) {
        let its = Some((agent, session));
        let own = self.devices.iter().position(|device| device.session == its);
        let is_broker = self.weather.is_broker;
        let (Some(broker), Some(host)) = (self.brokers.get_mut(agent), self.hosts.get_mut(agent))
        else {
            return;
        };
        match said {
            Said::Taken(packet) if is_broker => broker.taken(packet),
            Said::Taken(_) => {
                if let Some(device) = own.and_then(|at| self.devices.get_mut(at)) {
                    device.wire.took_over();
                }
            }
            Said::Close if is_broker => broker.closed(self.now_s, session, host),
            Said::Close => own.into_iter().for_each(|at| self.drop_link(at)),
            // Nobody hears the others while one alone is reached.
            Said::Message(_) if self.only.is_some_and(|only| only != agent) => {}
            Said::Message(message) => {
                let id = broker.device_of(session);
                for at in 0..self.devices.len() {
                    let is_its = |device: &Device| own == Some(at) || Some(device.id) == id;
                    if self.devices.get(at).is_some_and(is_its) {
                        self.send_down(at, message.clone());
                    }
                }
            }
        }
    }

    fn send_down(&mut self, at: usize, mut message: Message) {
        let device = self.devices.get(at);
        let is_listening =
            device.is_some_and(|device| device.wire.is_up && !device.wire.is_silent());
        if !is_listening || happens(&mut self.chance, self.weather.lose) {
            return;
        }
        self.do_mischief(at, &message);
        let (weather, chance) = (&self.weather, &mut self.chance);
        let Some(device) = self.devices.get_mut(at) else { return };
        let said = Ack::peek(&message.payload).ok().filter(|_| message.channel == Channel::Ack);
        if said.is_some() {
            device.hears(&message.payload);
        }
        if happens(chance, weather.garble) {
            garble(chance, &mut message);
        }
        if self.planted == Some(Planted::ForkNotNoticed) {
            without_tag(device, &mut message);
        }
        let late = if happens(chance, weather.late) { chance.below(10) } else { 0 };
        let times = if happens(chance, weather.twice) { 2 } else { 1 };
        for _ in 0..times {
            device.wire.downlink.push_back((self.now_s + late, message.clone()));
        }
        if let Some(Ack { lane, durable, .. }) = said {
            self.note(|| format!("device {at} is told that {lane} is held up to {}", durable.0));
        }
    }

    /// A broker says something old besides, whoever it was for, or what it has to say to another one, too.
    fn do_mischief(&mut self, at: usize, message: &Message) {
        let Weather { is_broker: true, replay, misplace, .. } = self.weather else { return };
        let (chance, now_s) = (&mut self.chance, self.now_s);
        let other = happens(chance, misplace).then(|| chance.index(self.devices.len()));
        let old = happens(chance, replay).then(|| chance.index(self.said.len()));
        let old = old.and_then(|old| self.said.get(old)).map(|old| (at, old.clone()));
        let other = other.map(|other| (other, message.clone()));
        for (to, message) in old.into_iter().chain(other) {
            if let Some(device) = self.devices.get_mut(to).filter(|device| device.wire.is_up) {
                device.wire.downlink.push_back((now_s, message));
            }
        }
        if self.said.len() < SAID_MAX {
            self.said.push(message.clone());
        } else if let Some(old) = self.said.get_mut(chance.index(SAID_MAX)) {
            *old = message.clone();
        }
    }

    /// An agent's process is gone, and with it its connections.
    pub(super) fn agent_is_gone(&mut self, agent: usize) {
        self.note(|| format!("agent {agent} is gone"));
        if let Some(broker) = self.brokers.get_mut(agent) {
            broker.agent_gone(self.now_s);
        }
        for device in &mut self.devices {
            if device.session.take_if(|(with, _)| *with == agent).is_some() {
                device.wire.drop_it(false);
            }
        }
    }

    /// The session of a device's link, if it has one of its own, is over.
    pub(super) fn hang_up(&mut self, at: usize) {
        let Some(device) = self.devices.get_mut(at) else { return };
        if let Some((agent, session)) = device.session.take()
            && let Some(host) = self.hosts.get_mut(agent)
        {
            host.close_session(self.now_s, session);
        }
    }

    pub(super) fn drop_link(&mut self, at: usize) {
        self.hang_up(at);
        if let Some(device) = self.devices.get_mut(at) {
            device.wire.drop_it(false);
        }
    }

    /// The planted fault of that name.
    fn release_on_puback(&mut self, at: usize, message: &Message) {
        if self.planted != Some(Planted::ReleaseOnPuback) {
            return;
        }
        let (Channel::Frames(lane), Some(device)) = (message.channel, self.devices.get_mut(at))
        else {
            return;
        };
        let payload = &message.payload;
        // Of a compact header only number and generation are looked at.
        let read = if compact::is_compact(payload) {
            let context = compact::Context { catalogue: CatalogueId(0), boot: 0 };
            compact::restore(payload, context, device.last(lane))
        } else {
            Header::read(payload)
        };
        let (Ok((header, _)), Some(ring)) = (read, device.ring(lane)) else { return };
        let ack = Ack {
            generation: header.generation,
            lane,
            durable: header.seq,
            tag: frame::tag_of(&message.payload),
            instance: JournalInstance::default(),
            repeat: false,
        };
        let key = keys::ack_key(&device.credentials.secret, &device.id, &ring, header.generation);
        let mut bytes = [0; protocol::ack::ACK_LEN_MAX];
        let len = ack.seal(&key, &device.id, &ring, &mut bytes);
        let payload = bytes.get(..len).unwrap_or_default().to_vec();
        device.wire.downlink.push_back((self.now_s, Message { channel: Channel::Ack, payload }));
    }
}

/// An acknowledgement that says nothing of which history it is about.
fn without_tag(device: &Device, message: &mut Message) {
    let Ok(claim) = Ack::peek(&message.payload) else { return };
    let (Channel::Ack, Some(ring)) = (message.channel, device.ring(claim.lane)) else { return };
    let key = keys::ack_key(&device.credentials.secret, &device.id, &ring, claim.generation);
    if let Ok(ack) = Ack::open(&key, &device.id, &ring, &message.payload) {
        let durable = ack.durable.min(device.last(claim.lane));
        let ack = Ack { tag: FrameTag::default(), durable, ..ack };
        let mut bytes = [0; protocol::ack::ACK_LEN_MAX];
        let len = ack.seal(&key, &device.id, &ring, &mut bytes);
        message.payload = bytes.get(..len).unwrap_or_default().to_vec();
    }
}
