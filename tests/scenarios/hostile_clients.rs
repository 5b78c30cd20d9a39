//! Bad clients harm nobody else.

use std::io::{Read as _, Write as _};

use world::chance::Chance;

use crate::raw_mqtt::RawClient;
use crate::world_of_one::World;

#[test]
fn a_million_random_bytes_on_the_port_harm_nobody() {
    let world = World::synthetic(3, 11, "");
    let agent = world.home.start().unwrap();
    let mut fleet = world.start_fleet(&[]);
    let mut chance = Chance::new(5);
    let mut sent = 0;
    while sent < 1_000_000 {
        let mut client = RawClient::open(world.home.listen);
        // Some begin like a CONNECT, to get further in.
        let mut noise: Vec<u8> = (0..20_000).map(|_| chance.draw().to_le_bytes()[0]).collect();
        if chance.within(0..2) == 0 {
            noise[..10].copy_from_slice(b"\x10\x80\x02\x00\x04MQTT\x05");
        }
        // It may hang up on us before we are through.
        drop(client.stream.write_all(&noise));
        drop(client.stream.shutdown(std::net::Shutdown::Write));
        let mut rest = Vec::new();
        drop(client.stream.read_to_end(&mut rest));
        sent += noise.len();
    }
    assert!(world.home.metric("agent_session_malformed_total").unwrap() > 0.0);
    assert!(fleet.wait(std::time::Duration::from_mins(1)).unwrap().success());
    world.verify();
    World::stop(agent);
}

#[test]
fn silent_and_slow_clients_are_put_out_and_the_others_served() {
    let world = World::synthetic(3, 12, "");
    let agent = world.home.start().unwrap();
    let mut silent: Vec<RawClient> = (0..50).map(|_| RawClient::open(world.home.listen)).collect();
    let mut slow = RawClient::open(world.home.listen);
    slow.stream.write_all(b"\x10").unwrap();
    world.drive(&[]);
    world.verify();
    for client in &mut silent {
        assert!(client.is_closed());
    }
    assert!(slow.is_closed());
    World::stop(agent);
}

#[test]
fn unknown_and_revoked_devices_are_turned_away() {
    let world = World::synthetic(2, 13, "");
    let agent = world.home.start().unwrap();
    let (device, secret) = world.first_key();
    let (mut client, code) = RawClient::connect(world.home.listen, &device, &secret);
    assert_eq!(code, 0);

    let stranger = "stranger".parse().unwrap();
    let (_, code) = RawClient::connect(world.home.listen, &stranger, &secret);
    assert!(code >= 0x80, "an unknown device got {code:#x}");
    let wrong = protocol::Secret::new([7; 32]);
    let (_, code) = RawClient::connect(world.home.listen, &device, &wrong);
    assert!(code >= 0x80, "a wrong password got {code:#x}");

    world.home.call(&["devices", "revoke", device.as_str()]).unwrap();
    assert!(client.is_closed(), "a revoked device's connection is closed");
    let (_, code) = RawClient::connect(world.home.listen, &device, &secret);
    assert!(code >= 0x80, "a revoked device got {code:#x}");
    assert!(world.home.metric("agent_session_refused_total").unwrap() >= 3.0);
    World::stop(agent);
}
