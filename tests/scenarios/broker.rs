//! Behind a real Mosquitto: what it loses, doubles or forgets costs nothing.

use std::time::Duration;

use world::mosquitto::Mosquitto;
use world::process::{Process, until};

use crate::world_of_one::{World, has_mosquitto};
use world::certificates::Authority;

/// What keeps a broker from losing more than it must.
const ROOMY: &str = "max_queued_messages 100000\nmax_packet_size 9216\npersistence true\n\
                     persistence_location {dir}/\nautosave_interval 1\n";

/// A broker that everyone may use, for a world whose agent and fleet are told of it.
fn open_broker(world: &mut World, extra: &str) -> Mosquitto {
    let broker = Mosquitto::open(&world.path().join("broker"), extra).unwrap();
    world.configure(&format!(
        "\n[[broker]]\nname = \"plant\"\nurl = \"mqtt://{}\"\n",
        broker.address
    ));
    world.connect = format!("mqtt://{}", broker.address);
    broker
}

fn healthy(world: &World) {
    until("the broker's health", Duration::from_mins(1), || {
        Ok(world.home.get("/healthz").is_ok_and(|(status, _)| status == 200))
    })
    .unwrap();
}

fn finish(world: &World, agent: Process) {
    world.verify();
    World::stop(agent);
}

#[test]
fn recordings_come_through_mosquitto_whole() {
    let Some(mut world) = World::taxis("").filter(|_| has_mosquitto()) else { return };
    let broker = open_broker(&mut world, ROOMY).start().unwrap();
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max"]);
    let verdict = world.verify();
    assert_eq!(verdict["samples"]["lost"], 0, "{verdict}");
    assert!(world.home.metric("agent_broker_messages_total").unwrap() > 0.0);
    assert!(world.home.metric("agent_broker_up").unwrap() > 0.0);
    World::stop(agent);
    broker.kill().unwrap();
}

#[test]
fn recordings_come_through_mosquitto_with_tls_and_certificates_whole() {
    let Some(mut world) = World::taxis("").filter(|_| has_mosquitto()) else { return };
    let authority = Authority::new(&world.path().join("tls")).unwrap();
    let (port, own) = (authority.server("broker").unwrap(), authority.client("milepost").unwrap());
    let lines = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\n{ROOMY}",
        authority.ca().display(),
        port.certificate.display(),
        port.key.display()
    );
    let broker = Mosquitto::with(&world.path().join("broker"), &lines).unwrap();
    let text = std::fs::read_to_string(&world.home.config).unwrap();
    let text = text.replace(&format!("\"{}\"", world.home.listen), "\"off\"");
    std::fs::write(&world.home.config, text).unwrap();
    world.configure(&format!(
        "\n[[broker]]\nname = \"plant\"\nurl = \"mqtts://{}\"\nca = \"{}\"\n\
         certificate = \"{}\"\nkey = \"{}\"\n",
        broker.address,
        authority.ca().display(),
        own.certificate.display(),
        own.key.display()
    ));
    world.connect = format!("mqtts://{}", broker.address);
    for device in world.fleet.names().unwrap().lines() {
        authority.client(device).unwrap();
    }
    let running = broker.start().unwrap();
    let agent = world.home.start().unwrap();
    let (ca, dir) = (authority.ca(), authority.dir());
    let (ca, dir) = (ca.to_str().unwrap(), dir.to_str().unwrap());
    world.drive(&["--speed", "max", "--ca", ca, "--cert-dir", dir]);
    let (_, health) = world.home.get("/healthz").unwrap();
    assert!(health.contains(r#""component":"certificate broker plant","ok":true"#), "{health}");
    assert!(!health.contains("intake listen"), "{health}");
    finish(&world, agent);
    running.kill().unwrap();
}

#[test]
fn a_broker_that_is_killed_and_forgets_everything_loses_nothing() {
    let Some(mut world) = World::taxis("").filter(|_| has_mosquitto()) else { return };
    let broker = open_broker(&mut world, ROOMY);
    let mut running = broker.start().unwrap();
    let agent = world.home.start().unwrap();
    let mut fleet =
        world.start_fleet(&["--speed", "20000", "--for", "8s", "--reconnect-within", "500ms"]);
    for forgets in [true, false, true] {
        std::thread::sleep(Duration::from_millis(1500));
        running.kill().unwrap();
        if forgets {
            broker.forget().unwrap();
        }
        running = broker.start().unwrap();
    }
    let status = fleet.wait(Duration::from_mins(3)).unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(world.fleet.log()).unwrap());
    assert!(world.home.metric("agent_broker_forgotten_total").unwrap() > 0.0);
    healthy(&world);
    finish(&world, agent);
    running.kill().unwrap();
}

#[test]
fn an_agent_killed_behind_a_broker_loses_nothing() {
    let Some(mut world) = World::taxis("").filter(|_| has_mosquitto()) else { return };
    world.home.hold_unsynced = true;
    let broker = open_broker(&mut world, ROOMY).start().unwrap();
    let mut agent = world.home.start().unwrap();
    let mut fleet =
        world.start_fleet(&["--speed", "20000", "--for", "6s", "--reconnect-within", "500ms"]);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1200));
        agent.kill().unwrap();
        agent = world.home.start().unwrap();
    }
    let status = fleet.wait(Duration::from_mins(3)).unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(world.fleet.log()).unwrap());
    finish(&world, agent);
    broker.kill().unwrap();
}

#[test]
fn a_broker_that_drops_what_it_has_no_room_for_loses_nothing() {
    if !has_mosquitto() {
        return;
    }
    let mut world = World::synthetic_for(Duration::from_mins(5), 20, 63, "");
    // It says PUBACK to the devices and forgets the message: the very thing to be safe from.
    let broker = open_broker(&mut world, "max_queued_messages 10\n");
    let broker = broker.start().unwrap();
    world.configure("in_flight_max = 4\n");
    let agent = world.home.start().unwrap();
    let mut fleet =
        world.start_fleet(&["--speed", "max", "--frame-bytes", "256", "--drain-for", "150s"]);
    // While the agent takes nothing, the devices' windows are more than the broker has room for.
    while fleet.ended().unwrap().is_none() {
        if world.home.metric("agent_frame_ahead_total").unwrap() == 0.0 {
            agent.signal("STOP").unwrap();
            std::thread::sleep(Duration::from_millis(300));
            agent.signal("CONT").unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = fleet.wait(Duration::from_secs(1)).unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(world.fleet.log()).unwrap());
    assert!(world.home.metric("agent_frame_ahead_total").unwrap() > 0.0, "nothing was dropped");
    finish(&world, agent);
    broker.kill().unwrap();
}

#[test]
fn who_is_unknown_or_revoked_is_not_heard_and_holds_up_nobody() {
    if !has_mosquitto() {
        return;
    }
    let mut world = World::synthetic(4, 61, "");
    let broker = open_broker(&mut world, ROOMY).start().unwrap();
    let names = world.fleet.names().unwrap();
    let devices: Vec<&str> = names.lines().collect();
    let agent = world.home.start().unwrap();
    world.home.call(&["devices", "revoke", devices[0]]).unwrap();
    world.home.call(&["devices", "remove", devices[1]]).unwrap();
    let mut fleet = world.start_fleet(&["--speed", "max", "--drain-for", "3s"]);
    assert_eq!(fleet.wait(Duration::from_mins(1)).unwrap().code(), Some(1));
    let text = std::fs::read_to_string(world.path().join("fleet.json")).unwrap();
    let totals: serde_json::Value = serde_json::from_str(&text).unwrap();
    let holding: Vec<&str> =
        totals["holding"].as_array().unwrap().iter().map(|held| held.as_str().unwrap()).collect();
    assert_eq!(holding.len(), 2, "{totals}");
    assert!(
        holding.iter().zip(&devices).all(|(held, device)| held.starts_with(device)),
        "{totals}"
    );
    let metrics = world.home.get("/metrics").unwrap().1;
    for reason in ["unknown", "revoked"] {
        let name = format!("agent_broker_unheard_total{{broker=\"plant\",reason=\"{reason}\"}}");
        let line = metrics.lines().find(|line| line.starts_with(&name)).unwrap();
        assert!(!line.ends_with(" 0"), "{line}");
    }
    World::stop(agent);
    broker.kill().unwrap();
}

#[test]
fn a_broker_that_is_not_there_is_said_and_tried_again() {
    if !has_mosquitto() {
        return;
    }
    let mut world = World::synthetic(2, 62, "");
    let broker = open_broker(&mut world, ROOMY);
    let agent = world.home.spawn().unwrap();
    until("word of the broker", Duration::from_secs(30), || {
        let health = world.home.get("/healthz");
        Ok(health.is_ok_and(|(status, body)| status == 503 && body.contains("trying again")))
    })
    .unwrap();
    let running = broker.start().unwrap();
    healthy(&world);
    world.drive(&["--speed", "max"]);
    finish(&world, agent);
    running.kill().unwrap();
}

#[test]
fn expired_certificates_are_said_and_new_ones_taken_up_without_a_restart() {
    if !has_mosquitto() {
        return;
    }
    let mut world = World::synthetic(2, 64, "");
    let authority = Authority::new(&world.path().join("tls")).unwrap();
    let (port, own) = (
        authority.expired_server("broker").unwrap(),
        authority.expired_client("milepost").unwrap(),
    );
    let lines = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\n{ROOMY}",
        authority.ca().display(),
        port.certificate.display(),
        port.key.display()
    );
    let broker = Mosquitto::with(&world.path().join("broker"), &lines).unwrap();
    world.configure(&format!(
        "\n[[broker]]\nname = \"plant\"\nurl = \"mqtts://{}\"\nca = \"{}\"\n\
         certificate = \"{}\"\nkey = \"{}\"\n",
        broker.address,
        authority.ca().display(),
        own.certificate.display(),
        own.key.display()
    ));
    world.connect = format!("mqtts://{}", broker.address);
    let said = |what: &str| {
        until(what, Duration::from_mins(1), || {
            Ok(world.home.get("/healthz").is_ok_and(|(_, body)| body.contains(what)))
        })
        .unwrap();
    };
    let running = broker.start().unwrap();
    let agent = world.home.spawn().unwrap();
    // The broker's is looked at first, then ours.
    said("invalid peer certificate");
    said(r#""component":"certificate broker plant","ok":false,"reason":"expired"#);
    running.kill().unwrap();
    authority.server("broker").unwrap();
    let running = broker.start().unwrap();
    said("received fatal alert");
    authority.client("milepost").unwrap();
    healthy(&world);
    for device in world.fleet.names().unwrap().lines() {
        authority.client(device).unwrap();
    }
    let (ca, dir) = (authority.ca(), authority.dir());
    let (ca, dir) = (ca.to_str().unwrap(), dir.to_str().unwrap());
    world.drive(&["--speed", "max", "--ca", ca, "--cert-dir", dir]);
    finish(&world, agent);
    running.kill().unwrap();
}
