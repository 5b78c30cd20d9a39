//! TLS on the devices' port: whom it lets in, and how its certificate is renewed.

use std::path::Path;
use std::time::Duration;

use world::process::until;

use crate::world_of_one::World;
use world::certificates::{Authority, Files};

/// A world whose port speaks TLS with this certificate, and its authority.
fn secured(world: &mut World, wants_certificates: bool) -> (Authority, Files) {
    let authority = Authority::new(&world.path().join("tls")).unwrap();
    let files = authority.server("port").unwrap();
    world.configure(&format!(
        "\n[listen.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        files.certificate.display(),
        files.key.display()
    ));
    if wants_certificates {
        world.configure(&format!("client_ca = \"{}\"\n", authority.ca().display()));
    }
    world.connect = format!("mqtts://{}", world.home.listen);
    (authority, files)
}

fn client_files(authority: &Authority, world: &World) {
    for device in world.fleet.names().unwrap().lines() {
        authority.client(device).unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn recordings_come_through_tls_whole() {
    let Some(mut world) = World::taxis("") else { return };
    let (authority, _) = secured(&mut world, false);
    let agent = world.home.start().unwrap();
    world.drive(&["--speed", "max", "--ca", text(&authority.ca())]);
    world.verify();
    let (_, health) = world.home.get("/healthz").unwrap();
    assert!(health.contains(r#""component":"certificate listen","ok":true"#), "{health}");
    assert!(world.home.metric("agent_tls_certificate_left_seconds").unwrap() > 1e9);
    World::stop(agent);
}

#[test]
fn with_mutual_tls_a_device_needs_a_certificate_that_names_it() {
    let mut world = World::synthetic(3, 51, "");
    let (authority, _) = secured(&mut world, true);
    let agent = world.home.start().unwrap();
    let ca = authority.ca();
    let hasty = ["--speed", "max", "--drain-for", "1s", "--ca", text(&ca)];
    let refused = |reason: &str| {
        let name = format!("agent_tls_refused_total{{reason=\"{reason}\"}}");
        world
            .home
            .get("/metrics")
            .unwrap()
            .1
            .lines()
            .any(|line| line.strip_prefix(&name).is_some_and(|count| count.trim() != "0"))
    };
    let try_with = |more: &[&str], reason: &str| {
        let mut fleet = world.start_fleet(&[&hasty[..], more].concat());
        assert!(!fleet.wait(Duration::from_mins(1)).unwrap().success(), "{reason}");
        assert!(refused(reason), "{reason}: {}", world.home.get("/metrics").unwrap().1);
    };
    try_with(&[], "no_certificate");
    let stranger = Authority::new(&world.path().join("other")).unwrap().client("stranger").unwrap();
    let one = |files: &Files| {
        ["--client-cert", text(&files.certificate), "--client-key", text(&files.key)]
            .map(str::to_owned)
    };
    let with_one = |files: &Files, reason: &str| {
        let arguments = one(files);
        try_with(&arguments.each_ref().map(String::as_str), reason);
    };
    with_one(&stranger, "untrusted");
    with_one(&authority.client("another-device").unwrap(), "other_device");
    with_one(&authority.expired_client("too-old").unwrap(), "expired");
    assert_eq!(world.home.ledger().unwrap()["sinks"][0]["accepted"]["samples"], 0);

    client_files(&authority, &world);
    world.drive(&["--speed", "max", "--ca", text(&ca), "--cert-dir", text(authority.dir())]);
    world.verify();
    World::stop(agent);
}

#[test]
fn a_renewed_certificate_is_taken_up_while_devices_send() {
    let mut world = World::synthetic(3, 52, "");
    let (authority, files) = secured(&mut world, false);
    let agent = world.home.start().unwrap();
    let left = || world.home.metric("agent_tls_certificate_left_seconds").unwrap();
    let health = || world.home.get("/healthz").unwrap().1;
    let before = left();
    // A key that does not belong to the certificate: the old pair stays in use, and it is said.
    let ca = authority.ca();
    std::fs::copy(authority.server("other").unwrap().key, &files.key).unwrap();
    until("word of the bad files", Duration::from_secs(40), || {
        Ok(health().contains("does not belong to the certificate"))
    })
    .unwrap();
    world.drive(&["--speed", "max", "--ca", text(&ca)]);
    // Nobody who trusts the new authority alone gets in before the swap, and everybody after it.
    let next = Authority::new(&world.path().join("tls-next")).unwrap();
    let renewed = next.server("port").unwrap();
    let mut fleet = world.start_fleet(&[
        "--reconnect-within",
        "1s",
        "--ca",
        text(&next.ca()),
        "--speed",
        "max",
    ]);
    std::fs::copy(&renewed.certificate, &files.certificate).unwrap();
    std::fs::copy(&renewed.key, &files.key).unwrap();
    assert!(fleet.wait(Duration::from_mins(1)).unwrap().success(), "{}", world.agent_log());
    until("good health", Duration::from_secs(40), || {
        Ok(health().contains(r#""component":"certificate listen","ok":true"#))
    })
    .unwrap();
    assert!(left() <= before && world.agent_log().contains("certificate taken up"));
    assert!(world.home.metric("agent_tls_refused_total").unwrap() > 0.0);
    world.verify();
    World::stop(agent);
}

#[test]
fn check_tells_what_is_wrong_with_certificates() {
    let mut world = World::synthetic(1, 53, "");
    let (authority, files) = secured(&mut world, true);
    let check = || {
        let output = world.home.command(&["check"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(check().0, "{}", check().1);
    let says = |word: &str| {
        let (ok, said) = check();
        assert!(!ok && said.contains(word), "{word}: {said}");
    };
    let other = authority.server("other").unwrap();
    std::fs::copy(&other.key, &files.key).unwrap();
    says("does not belong to the certificate");
    let expired = authority.expired_server("old").unwrap();
    std::fs::copy(&expired.certificate, &files.certificate).unwrap();
    std::fs::copy(&expired.key, &files.key).unwrap();
    says("has expired");
    std::fs::write(&files.certificate, "not PEM").unwrap();
    says("no certificate in PEM");
    let files = authority.server("port").unwrap();
    std::process::Command::new("chmod").arg("644").arg(&files.key).status().unwrap();
    says("chmod 600");
    std::fs::remove_file(&files.key).unwrap();
    says("No such file");
}
