#!/usr/bin/env python3
"""Opens every golden file, and compares what is in it with what docs/wire.md says of it."""

import json
import pathlib
import sys

import codec
import wire

GOLDEN = pathlib.Path(__file__).parents[2] / "protocol/golden/v1"
SECRET = bytes(range(32))
DEVICE = b"taxi-abboip"
BULK = 1
TIME = {"boot": 3, "uptime_ms": 61000, "unix_ms": 1211094008000, "clock": "reference"}


def golden(name):
    return bytes.fromhex("".join((GOLDEN / name).read_text().split()))


USUAL = golden("usual")
RING = wire.key(SECRET, b"ring", DEVICE, bytes([BULK]), (7).to_bytes(4, "big"), bytes([9] * 16))[:16]


def decoder(catalogue, is_still):
    assert catalogue == 0x12345678
    return codec.Decoder(3, USUAL, still=is_still)


def frame(name, ring=RING):
    return wire.frame(SECRET, DEVICE, ring, BULK, golden(name), decoder)


def beyond():
    """Odds that stay, values that are no number of steps, and what a catalogue says beforehand."""
    said = {"catalogue": 0x12345678, "clock": "rtc", "boot": 3}
    first = 1211094008000
    still = [[first + at * 900, 0, at * at] for at in range(5)]
    yield "samples-frame-still", frame("samples-frame-still"), {"generation": 0, "seq": 301, "samples": {**said, "samples": still}}
    values = [5, None, {"single": 0x3DCCCCCD}, {"double": 0x7FF8000000000000}, {"bytes": [0x0A, 0, 0xFF]}, {"text": "VIN"},
              {"text": ""}, -(1 << 63), 6]
    exact = [[first + at * 100, 1, value] for at, value in enumerate(values)]
    yield "samples-frame-exact", frame("samples-frame-exact"), {"generation": 0, "seq": 302, "samples": {**said, "samples": exact}}

    def hinted(catalogue, is_still):
        known = wire.catalogue(golden("catalogue-with-hints"))
        return codec.Decoder(2, USUAL, known["timing"], known["hints"], known["table"], is_still)

    polled = []
    for at in range(48):
        tick = first + at * 55 // 2 + (54 if at > 20 else 0) - (1 << 40 if at > 40 else 0)
        polled.append([tick, at % 2, 1000 + at * at - at % 7])
    opened = wire.frame(SECRET, DEVICE, RING, BULK, golden("samples-frame-hinted"), hinted)
    yield "samples-frame-hinted", opened, {"generation": 0, "seq": 303, "samples": {**said, "samples": polled}}


def keys():
    two = bytes([2])
    yield "ring-id", RING
    yield "frame-key", wire.key(SECRET, b"frame", DEVICE, RING, two)
    yield "ack-key", wire.key(SECRET, b"ack", DEVICE, RING, two)
    yield "hello-key", wire.key(SECRET, b"hello", DEVICE, two)
    yield "downlink-key", wire.key(SECRET, b"down", DEVICE, two, bytes([5] * 16))
    yield "mqtt-password", wire.key(SECRET, b"mqtt", DEVICE)[:16].hex().encode()


def drive():
    """Three signals in turn, once a minute, with one second's slip."""
    return [
        [1211094008 + at // 3 * 60 + (at == 20), at % 3, (3777833 + at * 11, -12241820 - at * 7, at % 2)[at % 3]]
        for at in range(40)
    ]


def said_of_records():
    log = {"time": TIME, "level": "warning", "target": "ring", "message": "worn"}
    attributes = [
        ["speed", {"Decimal": {"number": 413, "places": 1}}],
        ["by", {"Text": "driver"}],
        ["open", {"Bool": True}],
        ["count", {"Int": -3}],
    ]
    texts = {"actor": "driver", "action": "open", "object": "door.rear", "context": "trip-12"}
    event = {"time": TIME, **texts, "resource": "Vehicle.Cabin", "attributes": attributes}
    zeros = dict.fromkeys(("link_up", "rejected", "refused", "stack_free", "supply_mv"), 0)
    boot = {"unsealed_samples_max": [0, 512, 1], "unsealed_events_max": [4, 0, 0], "next": [1, 2, 3]}
    rings = {"lane": "bulk", "from": list(RING), "to": [1] * 16}
    return [
        {"Boot": {"time": TIME, "reset": "watchdog", **boot}},
        {"Event": event},
        {"Log": log},
        {"Heartbeat": {"time": TIME, "ring_used": [1, 200, 3], **zeros}},
        {"Fork": {"time": TIME, **rings, "acknowledged": 500, "next": 301, "reason": "ahead"}},
        {"Catalogue": [1, 2, 3]},
    ]


def messages():
    first = {"generation": 0, "seq": 300}
    samples = {"catalogue": 0x12345678, "clock": "reference", "boot": 3, "samples": drive()}
    yield "samples-frame", frame("samples-frame"), {**first, "samples": samples}
    kept = wire.restored(golden("samples-frame-compact"), 0x12345678, 3, 291)
    yield "samples-frame-compact", kept, golden("samples-frame")
    yield "empty-frame", frame("empty-frame"), {"generation": 0, "seq": 5, "records": []}
    yield "records-frame", frame("records-frame"), {"generation": 0, "seq": 1, "records": said_of_records()}
    through = {"samples": 20000, "events": 3}
    loss = {"first": 12, "last": 40, "through": through, "reason": "full", "time": TIME}
    yield "loss-frame", frame("loss-frame"), {"generation": 0, "seq": 41, "loss": loss}
    origin = {"ring": [3] * 16, "tag": [4] * 8, "seq": 77, "kind": 1}
    log = {"Log": {"time": TIME, "level": "info", "target": "x", "message": "y"}}
    resealed = {"generation": 0, "seq": 2, "origin": origin, "records": [log]}
    yield "resealed-frame", frame("resealed-frame"), resealed
    ring = {"ring": list(RING), "first_retained": 10, "next": 20, "acknowledged": 9, "acknowledged_by": [8] * 8}
    before = {"before_first": {"samples": 1000, "events": 10}, "before_next": {"samples": 2000, "events": 20}}
    rings = [{"lane": lane, **ring, **before} for lane in wire.LANES]
    hello = {"time": TIME, "challenge": [6] * 16, "catalogue": 0x12345678, "campaign": 2, "image": 0xCAFEF00D}
    yield "hello", wire.hello(SECRET, DEVICE, golden("hello")), {**hello, "rings": rings}
    ack = {"lane": "bulk", "durable": 300, "tag": [7] * 8, "instance": [8] * 8, "repeat": True}
    yield "ack", wire.acknowledgement(SECRET, DEVICE, RING, golden("ack")), ack
    welcome = {"unix_ms": 1211094008123, "hello_uptime_ms": 61000, "wants_catalogue": True}
    yield "welcome", wire.downlink(SECRET, DEVICE, bytes([6] * 16), golden("welcome")), welcome


def catalogues():
    plain, learnt = golden("catalogue"), wire.catalogue(golden("catalogue-with-hints"))
    yield "catalogue-id", wire.catalogue_id(plain), int.from_bytes(golden("catalogue-id"), "big")
    latitude = {"numerator": 1, "denominator": 100000, "offset": 0}
    occupied = {"numerator": 1, "denominator": 1, "offset": 0}
    signals = [
        {"path": "Vehicle.CurrentLocation.Latitude", "unit": "degrees", "step": latitude, "raw": [-9000000, 9000000]},
        {"path": "Vehicle.Cabin.IsOccupied", "unit": "", "step": occupied, "raw": [0, 1]},
    ]
    nothing = {"timing": codec.ANY, "hints": None, "table": b"", "thinning": []}
    yield "catalogue", wire.catalogue(plain), {"tick_ms": 1000, "signals": signals, **nothing}
    hints = [[hint.guess, hint.related, hint.follower, hint.expected, hint.spread, hint.interval, hint.period]
             for hint in learnt.pop("hints")]
    yield "catalogue-with-hints", hints, [["linear", 1, 1, -3, 9, 30, 4808], ["related", 0, 1, -3, 9, 30, 4808]]
    table = bytes(at * 7 % 256 for at in range(codec.table_len(2)))
    known = {"tick_ms": 1000, "signals": signals, "timing": (480, 440), "table": table}
    yield "catalogue-with-hints", learnt, {**known, "thinning": []}
    thinned = {"signals": [signals[0], {**signals[0], "path": "Vehicle.CurrentLocation.Mean"}], "thinning": [
        {"signal": 0, "dead_band": 3, "interval_ms": 1000, "silence_ms": 60000},
        {"signal": 1, "of": 0, "take": "mean", "length_ms": 10000},
    ]}
    yield "catalogue-thinned", wire.catalogue(golden("catalogue-thinned")), {"tick_ms": 1000, **nothing, **thinned}
    with_hints = wire.catalogue(golden("catalogue-thinned-with-hints"))
    with_hints.pop("hints")
    yield "catalogue-thinned-with-hints", with_hints, {**known, **thinned}


def main():
    checked = {"usual"}  # What the decoder begins with.
    every = [(name, bytes_, golden(name)) for name, bytes_ in keys()] + [*messages(), *beyond(), *catalogues()]
    for name, got, expected in every:
        if got != expected:
            sys.exit(f"{name}: {got!r}, not {expected!r}")
        checked.add(name)
    # Release 0.1.0's coding is read by agents alone.
    there = {path.name for path in GOLDEN.iterdir()} - {"samples-frame-0.1.0"}
    if there != checked:
        sys.exit(f"golden files that nobody looked at, or that are not there: {there ^ checked}")
    print(json.dumps({"goldens": len(checked)}))


if __name__ == "__main__":
    main()
