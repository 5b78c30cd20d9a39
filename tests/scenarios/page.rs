//! The page in a real browser: live, right, and honest about what it does not know.

use std::time::Duration;

use world::browser::Browser;
use world::process::until;

use crate::world_of_one::{World, block_sink, unblock_sink};

/// A browser. None, said aloud, where it is not installed; under CI that is an error.
fn browser(world: &World) -> Option<Browser> {
    let browser = Browser::start(world.path()).unwrap();
    if browser.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs chromium and chromium-driver");
        eprintln!("skipped: the page: chromium and chromium-driver are not installed");
    }
    browser
}

#[test]
fn the_page_follows_devices_ledger_and_health() {
    let world = World::synthetic(3, 51, "");
    let Some(browser) = browser(&world) else { return };
    let agent = world.home.start().unwrap();
    browser.open(&format!("http://{}/", world.home.http)).unwrap();
    browser.wait("#link", |text| text == "live").unwrap();
    browser.wait("#rows tr td:nth-child(3)", |text| text == "never").unwrap();

    let summary = world.drive(&[]);
    browser.wait("#rows tr td:nth-child(3)", |text| text.ends_with(" s ago")).unwrap();
    browser.wait("#rows tr td:nth-child(4)", |text| text.ends_with(" s ago")).unwrap();
    let samples = summary["samples"].as_u64().unwrap();
    let shown = |selector: &str| -> u64 {
        let script = format!(
            "return [...document.querySelectorAll({selector:?})]\
             .reduce((sum, node) => sum + Number(node.textContent.split(' ')[0].replaceAll(',', '')), 0)"
        );
        browser.run(&script).unwrap().as_u64().unwrap()
    };
    until("every sample on the page", Duration::from_secs(30), || {
        Ok(shown("#rows td:nth-child(6)") == samples && shown("#ledger td:nth-child(3)") == samples)
    })
    .unwrap();
    browser.wait("#ledger td:last-child", |text| text == "balanced").unwrap();
    assert_eq!(browser.run("return document.querySelectorAll('#health .bad').length").unwrap(), 0);

    // A part of a name is enough.
    browser
        .run(
            "const search = document.getElementById('search'); search.value = 'no such device'; \
             search.dispatchEvent(new Event('input'))",
        )
        .unwrap();
    browser.wait("#shown", |text| text.starts_with("0 shown; 0 connected of 3")).unwrap();
    assert_eq!(browser.complaints().unwrap(), Vec::<String>::new());
    World::stop(agent);
}

#[test]
fn the_page_says_what_is_wrong_and_comes_back_by_itself() {
    let world = World::synthetic(2, 52, "");
    let Some(browser) = browser(&world) else { return };
    let agent = world.home.start().unwrap();
    browser.open(&format!("http://{}/", world.home.http)).unwrap();
    browser.wait("#link", |text| text == "live").unwrap();
    agent.kill().unwrap();
    browser.wait("#link", |text| text.starts_with("the agent does not answer")).unwrap();

    // The same page, untouched, once the agent is back; its sink is not.
    let aside = block_sink(&world);
    let agent = world.home.spawn().unwrap();
    browser.wait("#link", |text| text == "live").unwrap();
    world.drive(&[]);
    browser.wait("#health .bad", |text| text.starts_with("sink file: ")).unwrap();
    unblock_sink(&world, &aside);
    until("health on the page", Duration::from_mins(1), || {
        Ok(browser.run("return document.querySelectorAll('#health .bad').length").unwrap() == 0)
    })
    .unwrap();
    browser.wait("#ledger td:last-child", |text| text == "balanced").unwrap();
    World::stop(agent);
}
