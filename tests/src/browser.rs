//! A real browser, headless, driven over `WebDriver` (W3C Recommendation, 2018).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::agent::free_address;
use crate::process::{Process, until};

/// Chromium behind its driver; both end with it.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
}

impl Browser {
    /// Starts one with an empty profile under `dir`; none where chromium is not installed.
    pub fn start(dir: &Path) -> Result<Option<Self>> {
        let (Some(chromium), Some(chromedriver)) = (find("chromium"), find("chromedriver")) else {
            return Ok(None);
        };
        let driver = free_address()?;
        let mut command = Command::new(chromedriver);
        command.arg(format!("--port={}", driver.port())).stdout(std::process::Stdio::null());
        let process = Process::start("chromedriver", &mut command, &dir.join("chromedriver.log"))?;
        until("chromedriver", Duration::from_secs(30), || {
            Ok(call(driver, "GET", "/status", None).is_ok())
        })?;
        let profile = format!("--user-data-dir={}", dir.join("profile").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1200,900",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = call(driver, "POST", "/session", Some(&wanted))?;
        let session =
            session.get("sessionId").and_then(Value::as_str).context("no session")?.to_owned();
        Ok(Some(Self { driver, session, _process: process }))
    }

    /// Goes to a page.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url }))?;
        Ok(())
    }

    /// Runs a script in the page; what it returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The text of what a CSS selector finds first; none if it finds nothing.
    pub fn text(&self, selector: &str) -> Result<Option<String>> {
        let script =
            format!("return document.querySelector({})?.textContent ?? null", json!(selector));
        Ok(self.run(&script)?.as_str().map(str::to_owned))
    }

    /// Waits until the text of what `selector` finds is as it should be.
    pub fn wait(&self, selector: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        let mut last = None;
        let done = until(selector, Duration::from_secs(30), || {
            last = self.text(selector)?;
            Ok(last.as_deref().is_some_and(&is))
        });
        done.with_context(|| format!("{selector} is {last:?}"))
    }

    /// What the page complained of on its console.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.post("/se/log", &json!({"type": "browser"}))?;
        let entries = log.as_array().context("no log")?;
        let severe = entries
            .iter()
            .filter(|entry| entry.get("level").is_some_and(|level| level == "SEVERE"));
        Ok(severe
            .map(|entry| entry.get("message").map(Value::to_string).unwrap_or_default())
            .collect())
    }

    /// A picture of the page, as PNG in base64.
    pub fn screenshot(&self) -> Result<String> {
        let path = format!("/session/{}/screenshot", self.session);
        let picture = call(self.driver, "GET", &path, None)?;
        Ok(picture.as_str().context("no picture")?.to_owned())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        call(self.driver, "POST", &format!("/session/{}{path}", self.session), Some(body))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends chromium; the driver is killed with its process.
        drop(call(self.driver, "DELETE", &format!("/session/{}", self.session), None));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// One command; its value.
fn call(driver: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect_timeout(&driver, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    // The driver keeps the connection: the length tells where the answer ends.
    loop {
        let mut line = String::new();
        anyhow::ensure!(answer.read_line(&mut line)? > 0, "no HTTP answer");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    let mut said: Value = serde_json::from_slice(&body)?;
    let value = said.get_mut("value").map(Value::take).unwrap_or_default();
    if value.get("error").is_some() {
        bail!("{method} {path}: {value}");
    }
    Ok(value)
}
