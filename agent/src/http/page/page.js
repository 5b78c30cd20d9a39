"use strict";
// The page follows /api/v1/events; everything it shows came with the latest event.

const at = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const real = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function put(id, text) {
  const node = at(id);
  if (node.textContent !== text) node.textContent = text;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${real.format(count)} ${units[unit]}`;
}

function ago(ms, now) {
  if (ms === null) return "never";
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
}

function cell(row, text, kind) {
  const node = row.insertCell();
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

let before = null;
let now = Date.now();

function showStatus(status) {
  now = status.at_ms;
  put("agent", `${status.version}, running for ${ago(status.started_ms, now).replace(" ago", "")}`);
  const seconds = before ? (status.at_ms - before.at_ms) / 1000 : 0;
  if (seconds > 0) {
    const rate = (pick) => (pick(status.totals) - pick(before.totals)) / seconds;
    put("rate-samples", real.format(rate((totals) => totals.accepted.samples)));
    put("rate-events", real.format(rate((totals) => totals.accepted.events)));
    put("rate-frames", real.format(rate((totals) => totals.frames)));
    put("rate-bytes", `${bytes(rate((totals) => totals.frame_bytes))}/s`);
  }
  before = status;
  put("connections", whole.format(status.connections));
  put("devices", whole.format(status.devices));
  put("journal", `${bytes(status.journal.bytes)} of ${bytes(status.journal.bytes_max)}`);
  put("memory", status.memory_bytes === null ? "–" : bytes(status.memory_bytes));
  showHealth(status.health);
  showLedger(status.ledger);
}

function showHealth(health) {
  const list = health.components.map((part) => {
    const line = document.createElement("li");
    line.textContent = `${part.component}: ${part.reason}`;
    if (!part.ok) line.className = "bad";
    return line;
  });
  at("health").replaceChildren(...list);
}

function showLedger(ledger) {
  const pair = (counts) => `${whole.format(counts.samples)} (${whole.format(counts.events)})`;
  const body = document.createElement("tbody");
  body.id = "ledger";
  for (const sink of ledger.sinks) {
    const row = body.insertRow();
    cell(row, sink.sink);
    for (const column of ["accepted", "delivered", "buffered", "lost", "excluded", "dead_lettered", "quarantined"]) {
      cell(row, pair(sink[column]));
    }
    const sum = (unit) => ["delivered", "buffered", "lost", "excluded", "dead_lettered", "quarantined"]
      .reduce((total, column) => total + sink[column][unit], 0);
    const balanced = ["samples", "events"].every((unit) => sum(unit) === sink.accepted[unit]);
    cell(row, balanced ? "balanced" : "does not balance", balanced ? "ok" : "bad");
  }
  at("ledger").replaceWith(body);
}

const rows = new Map();

function showDevices(devices) {
  for (const device of devices.rows) {
    const known = rows.get(device.device);
    const seconds = known ? (now - known.at_ms) / 1000 : 0;
    const rate = seconds > 0 ? (device.samples - known.samples) / seconds : 0;
    rows.set(device.device, { ...device, at_ms: now, rate });
  }
  put("shown", `${whole.format(rows.size)} shown; ${whole.format(devices.connected)} connected of ${whole.format(devices.known)} heard of`);
  const body = document.createElement("tbody");
  body.id = "rows";
  for (const name of [...rows.keys()].sort()) {
    const device = rows.get(name);
    const row = body.insertRow();
    row.dataset.device = name;
    cell(row, name);
    cell(row, device.connections > 0 ? "up" : "down", device.connections > 0 ? "ok" : "");
    cell(row, ago(device.last_seen_ms, now));
    cell(row, ago(device.last_changed_ms, now));
    cell(row, now - device.at_ms > 3000 ? "0" : real.format(device.rate));
    cell(row, whole.format(device.samples));
    cell(row, whole.format(device.events));
  }
  at("rows").replaceWith(body);
}

let stream = null;

function link(state, text) {
  at("link").dataset.state = state;
  put("link", text);
  document.body.classList.toggle("stale", state === "lost");
}

function follow() {
  if (stream) stream.close();
  rows.clear();
  const search = at("search").value.trim();
  stream = new EventSource(`api/v1/events?search=${encodeURIComponent(search)}`);
  stream.addEventListener("status", (event) => { link("live", "live"); showStatus(JSON.parse(event.data)); });
  stream.addEventListener("devices", (event) => showDevices(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    link("lost", "the agent does not answer; trying again");
    before = null;
    // A browser gives up on some errors by itself: it does not here.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  });
}

let typing = null;
at("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(follow, 300); });
follow();
