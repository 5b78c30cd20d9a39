#!/usr/bin/env python3
"""Decodes each batch of the file given, and compares it with the samples that it was made of.

One JSON object per line: signals, timing, hints, table, still, batches, samples. Batches after the first of
a line are chained to the one before.
"""

import json
import pathlib
import sys

import codec

GOLDEN = pathlib.Path(__file__).parents[2] / "protocol/golden/v1"
GUESSES = ["last", "linear", "half", "mean", "related"]


def hint(said, signal, signals):
    hint = codec.Hint(signal, signals)
    guess, hint.related, hint.follower, hint.expected, hint.spread, hint.interval, hint.period = said
    hint.guess = GUESSES[guess]
    return hint


def main(path):
    usual = bytes.fromhex((GOLDEN / "usual").read_text())
    lines = batches = samples = 0
    for line in open(path, encoding="utf-8"):
        said = json.loads(line)
        signals, timing = said["signals"], said["timing"]
        timing = timing if isinstance(timing, str) else tuple(timing)
        hints = [hint(each, at, signals) for at, each in enumerate(said["hints"])]
        table = bytes.fromhex(said["table"])
        decoder = codec.Decoder(signals, usual, timing, hints, table, said["still"])
        for batch, expected in zip(said["batches"], said["samples"], strict=True):
            got = decoder.batch(bytes.fromhex(batch), len(expected))
            for at, (one, other) in enumerate(zip(got, expected, strict=True)):
                if list(one) != other:
                    sys.exit(f"line {lines}, batch {batches}, sample {at}: {one}, not {other}")
            batches, samples = batches + 1, samples + len(got)
        lines += 1
    print(json.dumps({"lines": lines, "batches": batches, "samples": samples}))


if __name__ == "__main__":
    main(sys.argv[1])
