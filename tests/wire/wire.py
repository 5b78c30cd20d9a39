"""Everything that devices and agents say to each other, from docs/wire.md alone.

Nothing but the standard library. It opens what is sealed, and shares no line with the code in Rust.
"""

import hashlib
import hmac
import struct

import codec

VERSION = 1
MESSAGES = 0  # The version of all that is no frame.
TAG = 16
CLOCKS = ["uptime", "rtc", "agent", "reference"]
LANES = ["critical", "bulk", "latest"]
RESETS = ["unknown", "power", "software", "watchdog", "crash", "pin"]
LEVELS = ["error", "warning", "info", "debug"]
FORKS = ["ahead", "mismatch"]
LOSSES = ["full", "torn", "damaged", "expired", "superseded", "unexplained", "acknowledged-elsewhere", "journal",
          "overrun", "forked"]


class Wrong(Exception):
    """No such message, or not authentic."""


# Keys and seals


def key(secret, purpose, *parts):
    """HKDF-SHA256 (RFC 5869), one block."""
    info = b"".join(bytes([len(part)]) + part for part in (purpose, *parts))
    prk = hmac.digest(b"milepost/0", secret, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")


def rotated(number, by):
    number &= 0xFFFFFFFF
    return (number << by | number >> (32 - by)) & 0xFFFFFFFF


def chacha(key, counter, nonce):
    """A block of the stream (RFC 8439, 2.3)."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    start += [*struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    at = list(start)

    def quarter(a, b, c, d):
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            at[x] = (at[x] + at[y]) & 0xFFFFFFFF
            at[z] = rotated(at[z] ^ at[x], by)

    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(a, b, c, d)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(a, b, c, d)
    return struct.pack("<16I", *((one + other) & 0xFFFFFFFF for one, other in zip(at, start, strict=True)))


def poly1305(key, text):
    """RFC 8439, 2.5."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    sum_ = 0
    for at in range(0, len(text), 16):
        sum_ = (sum_ + int.from_bytes(text[at : at + 16] + b"\x01", "little")) * r % ((1 << 130) - 5)
    return ((sum_ + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def unsealed(key, nonce, associated, sealed):
    """The plain text, of ciphertext and tag (RFC 8439, 2.8)."""
    if len(sealed) < TAG:
        raise Wrong("cut off")
    text, tag = sealed[:-TAG], sealed[-TAG:]

    def padded(part):
        return part + bytes(-len(part) % 16)

    said = padded(associated) + padded(text) + struct.pack("<QQ", len(associated), len(text))
    if not hmac.compare_digest(poly1305(chacha(key, 0, nonce)[:32], said), tag):
        raise Wrong("not authentic")
    blocks = (len(text) + 63) // 64
    stream = b"".join(chacha(key, 1 + block, nonce) for block in range(blocks))
    return bytes(one ^ other for one, other in zip(text, stream))


# postcard


def varint(number):
    """Seven bits a byte, low bits first."""
    more = number >> 7
    return bytes([number & 0x7F | 0x80]) + varint(more) if more else bytes([number])


class Bytes:
    """Reads from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        part = self.data[self.at : self.at + count]
        if len(part) < count:
            raise Wrong("cut off")
        self.at += count
        return part

    def rest(self):
        return self.raw(len(self.data) - self.at)

    def is_empty(self):
        return self.at == len(self.data)

    def byte(self):
        return self.raw(1)[0]

    def number(self):
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if number >> 64:
                raise Wrong("a number of more than 64 bits")
            shift += 7
            if byte < 0x80:
                return number

    def signed(self):
        number = self.number()
        return number >> 1 ^ -(number & 1)

    def text(self):
        return self.raw(self.number()).decode()

    def bytes_(self):
        return list(self.raw(self.number()))

    def one_of(self, names):
        number = self.number()
        if number >= len(names):
            raise Wrong("an unknown variant")
        return names[number]

    def numbers(self, count):
        return [self.number() for _ in range(count)]


def time(data):
    return {"boot": data.number(), "uptime_ms": data.number(), "unix_ms": data.signed(), "clock": data.one_of(CLOCKS)}


def counts(data):
    return {"samples": data.number(), "events": data.number()}


# Records


def boot(data):
    return {
        "time": time(data),
        "reset": data.one_of(RESETS),
        "unsealed_samples_max": data.numbers(3),
        "unsealed_events_max": data.numbers(3),
        "next": data.numbers(3),
    }


def value(data):
    kind = data.one_of(["Text", "Int", "Bool", "Decimal"])
    if kind == "Text":
        return {kind: data.text()}
    if kind == "Int":
        return {kind: data.signed()}
    if kind == "Bool":
        return {kind: bool(data.byte())}
    return {kind: {"number": data.signed(), "places": data.byte()}}


def event(data):
    said = {"time": time(data)}
    for name in ("actor", "action", "object", "context", "resource"):
        said[name] = data.text()
    said["attributes"] = [[data.text(), value(data)] for _ in range(data.number())]
    return said


def log(data):
    return {"time": time(data), "level": data.one_of(LEVELS), "target": data.text(), "message": data.text()}


def heartbeat(data):
    said = {"time": time(data), "ring_used": list(data.raw(3))}
    for name in ("link_up", "rejected", "refused", "stack_free", "supply_mv"):
        said[name] = data.number()
    return said


def fork(data):
    return {
        "time": time(data),
        "lane": data.one_of(LANES),
        "from": list(data.raw(16)),
        "to": list(data.raw(16)),
        "acknowledged": data.number(),
        "next": data.number(),
        "reason": data.one_of(FORKS),
    }


def crash(data):
    return {
        "time": time(data),
        "boot": data.number(),
        "image": data.number(),
        "registers": data.numbers(3),
        "reason": data.text(),
        "stack": data.bytes_(),
    }


RECORDS = [("Boot", boot), ("Event", event), ("Log", log), ("Heartbeat", heartbeat), ("Fork", fork), ("Crash", crash),
           ("Catalogue", Bytes.bytes_)]


def records(body):
    """Each record, or none where it is of a kind that this does not know."""
    data, said = Bytes(body), []
    while not data.is_empty():
        record = Bytes(data.raw(int.from_bytes(data.raw(2), "big")))
        kind = record.number()
        said.append({RECORDS[kind][0]: RECORDS[kind][1](record)} if kind < len(RECORDS) else None)
    return said


def loss(data):
    return {
        "first": data.number(),
        "last": data.number(),
        "through": counts(data),
        "reason": data.one_of(LOSSES),
        "time": time(data),
    }


# Frames


def head(first):
    if first >> 4 != MESSAGES:
        raise Wrong("another version")
    return first >> 2 & 3


def context(data):
    """What samples are of: catalogue, clock, coding, boot."""
    catalogue, said = int.from_bytes(data.raw(4), "big"), data.byte()
    coding, clock = said >> 6, said & 0x3F
    if coding not in (1, 2) or clock >= len(CLOCKS):
        raise Wrong("another coding or clock")
    return catalogue, CLOCKS[clock], coding, data.number()


def samples(of, data, decoder):
    """`decoder` makes one of the catalogue's id and of whether the odds are still."""
    catalogue, clock, coding, boot = of
    count = data.number()
    batch = decoder(catalogue, coding == 2).batch(data.rest(), count)
    return {"catalogue": catalogue, "clock": clock, "boot": boot, "samples": [list(sample) for sample in batch]}


def body(kind, text, decoder, of=None):
    if kind == 0:
        data = Bytes(text)
        return {"samples": samples(of or context(data), data, decoder)}
    if kind == 1:
        return {"records": records(text)}
    if kind == 2:
        return {"loss": loss(Bytes(text))}
    data = Bytes(text)
    origin = {"ring": list(data.raw(16)), "tag": list(data.raw(8)), "seq": data.number(), "kind": data.byte()}
    return {"origin": origin, **body(origin["kind"], data.rest(), decoder)}


def frame(secret, device, ring, lane, sealed, decoder):
    """What a frame says."""
    data = Bytes(sealed)
    first = data.byte()
    if first >> 4 > VERSION:
        raise Wrong("another version")
    kind, generation, seq = first & 3, first >> 2 & 3, data.number()
    of = context(data) if kind == 0 and first >> 4 == 1 else None
    header = sealed[: data.at]
    associated = b"f" + bytes([len(device)]) + device + ring + bytes([lane]) + header
    opens = key(secret, b"frame", device, ring, bytes([generation]))
    text = unsealed(opens, struct.pack("<QI", seq, 0), associated, data.rest())
    return {"generation": generation, "seq": seq, **body(kind, text, decoder, of)}


def restored(message, catalogue, boot, expected):
    """A frame as it is kept, of one with a compact header behind a hello of this catalogue and boot."""
    data = Bytes(message)
    first, second, low = data.byte(), data.byte(), data.byte()
    if first >> 4 != 8 | VERSION or first & 3 != 0:
        raise Wrong("no compact header")
    low |= (second & 15) << 8
    near = expected - (expected - low) % 4096
    seq = min((number for number in (near, near + 4096) if number > 0), key=lambda number: abs(number - expected))
    clock_and_coding = second >> 6 | (second >> 4 & 3) << 6
    of = catalogue.to_bytes(4, "big") + bytes([clock_and_coding]) + varint(boot)
    return bytes([first & 0x7F]) + varint(seq) + of + data.rest()


# Other messages


def hello(secret, device, sealed):
    data = Bytes(sealed)
    first = data.byte()
    generation, nonce = head(first), data.raw(12)
    opens = key(secret, b"hello", device, bytes([generation]))
    data = Bytes(unsealed(opens, nonce, b"h" + bytes([first]) + device, data.rest()))
    said = {"time": time(data), "challenge": list(data.raw(16))}
    for name in ("catalogue", "campaign", "image"):
        said[name] = data.number()
    said["rings"] = [
        {
            "lane": data.one_of(LANES),
            "ring": list(data.raw(16)),
            "first_retained": data.number(),
            "next": data.number(),
            "before_first": counts(data),
            "before_next": counts(data),
            "acknowledged": data.number(),
            "acknowledged_by": list(data.raw(8)),
        }
        for _ in range(data.number())
    ]
    return said


def acknowledgement(secret, device, ring, sealed):
    said, mac = sealed[:-16], sealed[-16:]
    data = Bytes(said)
    first = data.byte()
    opens = key(secret, b"ack", device, ring, bytes([head(first)]))
    if hmac.digest(opens, bytes([len(device)]) + device + ring + said, "sha256")[:16] != mac:
        raise Wrong("not authentic")
    return {
        "lane": LANES[data.byte()],
        "durable": data.number(),
        "tag": list(data.raw(8)),
        "instance": list(data.raw(8)),
        "repeat": bool(first & 1),
    }


def downlink(secret, device, challenge, sealed):
    data = Bytes(sealed)
    first = data.byte()
    generation, salt, number = head(first), data.raw(16), data.raw(8)
    opens = key(secret, b"down", device, bytes([generation]), salt)
    associated = b"d" + bytes([generation]) + challenge + device
    data = Bytes(unsealed(opens, number + bytes(4), associated, data.rest()))
    if data.number() != 0:
        raise Wrong("an unknown message")
    return {"unix_ms": data.signed(), "hello_uptime_ms": data.number(), "wants_catalogue": bool(data.byte())}


# Catalogues


def catalogue(encoding):
    """Ticks, signals, and what the batch codec is told."""
    data = Bytes(encoding)
    said = {"tick_ms": data.number(), "signals": []}
    for _ in range(data.number()):
        path, unit = data.text(), data.text()
        step = {"numerator": data.number(), "denominator": data.number(), "offset": data.signed()}
        said["signals"].append({"path": path, "unit": unit, "step": step, "raw": [data.signed(), data.signed()]})
    timing, hints, table = codec.ANY, None, b""
    if not data.is_empty():
        kind = data.number()
        timing = [codec.ANY, codec.SEQUENCE, None][kind] or (data.number(), data.number())
        hints = [hint(data, at, len(said["signals"])) for at in range(data.number())] or None
        table = bytes(data.bytes_())
    thinning = [] if data.is_empty() else [thinned(data) for _ in range(data.number())]
    return {**said, "timing": timing, "hints": hints, "table": table, "thinning": thinning}


def thinned(data):
    signal = data.byte()
    if data.one_of(["skip", "window"]) == "window":
        of, take = data.byte(), data.one_of(["min", "mean", "max"])
        return {"signal": signal, "of": of, "take": take, "length_ms": data.number()}
    dead_band = data.number() if data.byte() else None
    return {"signal": signal, "dead_band": dead_band, "interval_ms": data.number(), "silence_ms": data.number()}


def hint(data, signal, signals):
    said = codec.Hint(signal, signals)
    said.guess = data.one_of(["last", "linear", "half", "mean", "related"])
    said.related, said.follower = data.byte(), data.byte()
    said.expected, said.spread = data.signed(), data.byte()
    said.interval, said.period = data.signed(), data.signed()
    return said


def catalogue_id(encoding):
    return int.from_bytes(hashlib.sha256(encoding).digest()[:4], "big")
