#!/usr/bin/env python3
"""Opens each frame of the file given, and compares it with what it was made of.

One JSON object per line: secret, device, ring, lane, signals of the catalogue, frame, and what it says. A frame
with any byte changed must not open.
"""

import json
import pathlib
import sys

import codec
import wire

GOLDEN = pathlib.Path(__file__).parents[2] / "protocol/golden/v1"


def main(path):
    usual = bytes.fromhex((GOLDEN / "usual").read_text())
    frames = compact = 0
    for line in open(path, encoding="utf-8"):
        said = json.loads(line)
        secret, ring, sealed = (bytes.fromhex(said[name]) for name in ("secret", "ring", "frame"))
        device, lane, signals = said["device"].encode(), said["lane"], said["signals"]

        def decoder(_, is_still, signals=signals):
            return codec.Decoder(signals, usual, still=is_still)

        got = wire.frame(secret, device, ring, lane, sealed, decoder)
        if got != said["said"]:
            sys.exit(f"frame {frames}: {got}, not {said['said']}")
        if "compact" in said:
            short = said["compact"]
            message = bytes.fromhex(short["message"])
            if wire.restored(message, short["catalogue"], short["boot"], short["expected"]) != sealed:
                sys.exit(f"frame {frames} is another after its compact header")
            compact += 1
        bent = bytearray(sealed)
        bent[frames % len(sealed)] ^= 1 << frames % 8
        try:
            wire.frame(secret, device, ring, lane, bytes(bent), decoder)
            sys.exit(f"frame {frames} opens with byte {frames % len(sealed)} changed")
        except wire.Wrong:
            frames += 1
    print(json.dumps({"frames": frames, "compact": compact}))


if __name__ == "__main__":
    main(sys.argv[1])
