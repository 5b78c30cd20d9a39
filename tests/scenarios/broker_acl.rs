//! What `milepost devices acl mosquitto` writes keeps devices apart, in the real Mosquitto.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use protocol::keys::mqtt_password;
use protocol::{DeviceId, Secret};
use serde_json::Value;
use world::agent::free_address;
use world::mosquitto::Mosquitto;

use crate::raw_mqtt::RawClient;
use crate::world_of_one::{World, has_mosquitto};
use world::certificates::Authority;

const PASSWORD: &str = "the agent's own";
const NOT_AUTHORIZED: u8 = 0x87;

/// A broker set up by what the command writes, with these arguments besides.
fn set_up(world: &mut World, scheme: &str, broker_lines: &str, arguments: &[&str]) -> Mosquitto {
    let address = free_address().unwrap();
    let password = world.path().join("broker.password");
    std::fs::write(&password, PASSWORD).unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    world.configure(&format!(
        "\n[[broker]]\nname = \"plant\"\nurl = \"{scheme}://{address}\"\nusername = \"milepost\"\n\
         password_file = \"{}\"\n{broker_lines}",
        password.display()
    ));
    world.connect = format!("{scheme}://{address}");
    let out = out(world);
    let (listen, dir) = (address.to_string(), out.to_str().unwrap().to_owned());
    let call = ["devices", "acl", "mosquitto", "--listen", &listen, "--out", &dir];
    world.home.call(&[&call[..], arguments].concat()).unwrap();
    let broker = Mosquitto::at(&world.path().join("broker"), address).unwrap();
    let text = format!("user root\nlog_dest stderr\ninclude_dir {dir}\n");
    std::fs::write(broker.config(), text).unwrap();
    broker
}

fn out(world: &World) -> PathBuf {
    world.path().join("acl")
}

fn keys(world: &World) -> Vec<(DeviceId, Secret)> {
    let text = std::fs::read_to_string(world.fleet.keys()).unwrap();
    let key = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let hex = line["secret"].as_str().unwrap();
        let mut secret = [0; 32];
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        }
        (line["device"].as_str().unwrap().parse().unwrap(), Secret::new(secret))
    };
    text.lines().map(key).collect()
}

fn client(broker: &Mosquitto, name: &str, password: &[u8]) -> (RawClient, u8) {
    let mut client = RawClient::open(broker.address);
    client.send_connect(name, password);
    let (kind, body) = client.read().expect("a CONNACK");
    assert_eq!(kind, 0x20);
    (client, body[1])
}

fn subscribe(client: &mut RawClient, filters: &[&str]) {
    let mut body = vec![0, 1, 0];
    for filter in filters {
        body.extend(u16::try_from(filter.len()).unwrap().to_be_bytes());
        body.extend(filter.as_bytes());
        body.push(1);
    }
    client.send(0x82, &body);
    let (kind, _) = client.read().expect("a SUBACK");
    assert_eq!(kind, 0x90);
}

/// What the broker answers to a publish: the PUBACK's reason.
fn publish(client: &mut RawClient, topic: &str) -> u8 {
    client.publish(topic, 7, b"x");
    loop {
        let (kind, body) = client.read().expect("a PUBACK");
        if kind == 0x40 {
            return body.get(2).copied().unwrap_or(0);
        }
    }
}

/// The topic of the next message.
fn heard(client: &mut RawClient) -> String {
    loop {
        let (kind, body) = client.read().expect("a PUBLISH");
        if kind & 0xf0 == 0x30 {
            let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
            return String::from_utf8(body[2..2 + len].to_vec()).unwrap();
        }
    }
}

#[test]
fn with_passwords_a_device_says_and_hears_its_own_and_no_more() {
    if !has_mosquitto() {
        return;
    }
    let mut world = World::synthetic(3, 71, "");
    let broker = set_up(&mut world, "mqtt", "", &[]);
    let running = broker.start().unwrap();
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    world.verify();
    World::stop(agent);

    let keys = keys(&world);
    let [(one, secret), (other, other_secret), _] = &keys[..] else { panic!("{}", keys.len()) };
    let password = |device, secret| mqtt_password(secret, device);
    let (_, code) = client(&broker, one.as_str(), b"wrong");
    assert!(code >= 0x80);
    let (_, code) = client(&broker, one.as_str(), &password(other, other_secret));
    assert!(code >= 0x80, "another device's password got {code:#x}");

    let (mut device, code) = client(&broker, one.as_str(), &password(one, secret));
    assert_eq!(code, 0);
    subscribe(&mut device, &["#", &format!("m0/{other}/a"), "m0/+/c", &format!("m0/{one}/a")]);
    for letter in ["c", "b", "l", "h", "a", "d"] {
        let said = publish(&mut device, &format!("m0/{other}/{letter}"));
        assert_eq!(said, NOT_AUTHORIZED, "another's topic {letter}");
        let own = publish(&mut device, &format!("m0/{one}/{letter}"));
        assert_eq!(own != NOT_AUTHORIZED, "cblh".contains(letter), "own topic {letter}: {own:#x}");
    }
    assert_eq!(publish(&mut device, "anything/else"), NOT_AUTHORIZED);

    // The agent, who may say everything that agents say, and nothing in a device's name.
    let (mut agent, code) = client(&broker, "milepost", PASSWORD.as_bytes());
    assert_eq!(code, 0);
    assert_eq!(publish(&mut agent, &format!("m0/{one}/c")), NOT_AUTHORIZED);
    // What is another's does not arrive, though it was subscribed to; what comes next does.
    publish(&mut agent, &format!("m0/{other}/a"));
    publish(&mut agent, &format!("m0/{other}/d"));
    let (mut second, _) = client(&broker, other.as_str(), &password(other, other_secret));
    publish(&mut second, &format!("m0/{other}/c"));
    publish(&mut agent, &format!("m0/{one}/a"));
    assert_eq!(heard(&mut device), format!("m0/{one}/a"));
    running.kill().unwrap();
}

#[test]
fn with_certificates_a_device_is_who_its_certificate_says_and_a_revoked_one_is_shut_out() {
    if !has_mosquitto() {
        return;
    }
    let mut world = World::synthetic(3, 72, "");
    let authority = Authority::new(&world.path().join("tls")).unwrap();
    let (port, own) = (authority.server("broker").unwrap(), authority.client("milepost").unwrap());
    let names = world.fleet.names().unwrap();
    let devices: Vec<&str> = names.lines().collect();
    // The last one comes with the certificate of another: it speaks as that one, or not at all.
    for device in &devices[..2] {
        authority.client(device).unwrap();
    }
    let stolen = authority.client("somebody-else").unwrap();
    let place = |extension: &str| authority.dir().join(format!("{}.{extension}", devices[2]));
    std::fs::copy(&stolen.certificate, place("pem")).unwrap();
    std::fs::copy(&stolen.key, place("key")).unwrap();
    world.home.call(&["devices", "revoke", devices[0]]).unwrap();
    let ca = authority.ca();
    let lines = format!(
        "ca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        ca.display(),
        own.certificate.display(),
        own.key.display()
    );
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "--certificate".to_owned(),
        text(&port.certificate),
        "--key".to_owned(),
        text(&port.key),
        "--client-ca".to_owned(),
        text(&ca),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let running = set_up(&mut world, "mqtts", &lines, &arguments).start().unwrap();
    assert!(!out(&world).join("milepost.passwd").exists());
    let agent = world.home.start().unwrap();
    let (ca, dir) = (text(&ca), text(authority.dir()));
    let arguments = ["--speed", "max", "--drain-for", "3s", "--ca", &ca, "--cert-dir", &dir];
    let mut fleet = world.start_fleet(&arguments);
    assert_eq!(fleet.wait(std::time::Duration::from_mins(1)).unwrap().code(), Some(1));
    let totals = std::fs::read(world.path().join("fleet.json")).unwrap();
    let totals: Value = serde_json::from_slice(&totals).unwrap();
    let holding = totals["holding"].as_array().unwrap();
    assert_eq!(holding, &[Value::from(devices[0]), Value::from(devices[2])], "{totals}");
    // The broker itself shut both out: nothing of theirs reached the agent.
    let unheard = world.home.metric("agent_broker_unheard_total").unwrap();
    assert!(unheard < 1.0, "{unheard}");
    World::stop(agent);
    running.kill().unwrap();
}
