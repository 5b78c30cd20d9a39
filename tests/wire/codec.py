"""The batch codec's decoder, from docs/codec.md alone: a second opinion on what that page says.

Nothing but the standard library. It is slow, and shares no line with the one in Rust.
"""

RATES = [32768, 21845, 16384, 10923, 8192, 5461, 3640, 2048]
LEVELS = [33, 69, 143, 291, 584, 1129, 2046, 3353, 4839, 6146, 7063, 7608, 7901, 8049, 8123, 8159]
FINE = 16
SPAN = 1 << 26
NO_BEATS = 7
SEQUENCE, ANY = "sequence", "any"

# Where the chances are: those that all signals share, and those of one signal.
OTHER, INDEX, FIRST, DIGITS, BEATS, TICKS, EPOCH, SHARED = 0, 1, 65, 95, 131, 195, 435, 437
FOLLOWED, SAME, HABIT, CHANGE, SIGN, LAST, NEAR, OWN = 0, 1, 2, 20, 35, 50, 68, 96


def wrap(number, bits):
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def i64(number):
    return wrap(number, 64)


def i32(number):
    return wrap(number, 32)


def clamp(number, least, most):
    return max(least, min(most, number))


def table_len(signals):
    return (SHARED + signals * OWN + 1) // 2


class Escape:
    """In the place of a number: what follows is something else."""

    def __init__(self, kind):
        self.kind = kind


class Chance:
    def __init__(self, level, still):
        self.ones, self.seen, self.still = LEVELS[level], 3, still

    def learn(self, bit):
        if self.still:
            return
        to, half = (8191, 57344) if bit else (1, 8192)
        self.ones += ((to - self.ones) * RATES[self.seen] + half) >> 16
        self.seen = min(self.seen + 1, 7)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0
        self.width, self.code = 0xFFFFFFFF, 0
        for _ in range(4):
            self.shift()

    def shift(self):
        byte = self.data[self.at] if self.at < len(self.data) else 0
        self.at += 1
        self.code = (self.code << 8 | byte) & 0xFFFFFFFF

    def plain(self, ones):
        part = (self.width >> 14) * ones
        bit = self.code < part
        if bit:
            self.width = part
        else:
            self.code -= part
            self.width -= part
        while self.width < 1 << 24:
            self.shift()
            self.width <<= 8
        return bit

    def flat(self, bits):
        number = 0
        for _ in range(bits):
            number = number << 1 | self.plain(1 << 13)
        return number

    def bit(self, first, second=None):
        second = second or first
        bit = self.plain(first.ones + second.ones)
        first.learn(bit)
        if second is not first:
            second.learn(bit)
        return bit


class Hint:
    def __init__(self, signal, signals):
        self.guess, self.expected, self.spread, self.interval, self.period = "last", 0, 0, 0, 0
        self.related = (signal - 1) % signals
        self.follower = (signal + 1) % signals


class Signal:
    """What is known of one signal."""

    def __init__(self, hint, chances):
        self.hint, self.own = hint, chances
        self.follower = hint.follower
        self.interval, self.wrong = hint.interval, 0
        self.at, self.period = None, hint.period
        self.own_error = self.next_error = 0
        self.last = self.change = self.to_mean = self.usual = 0
        self.size, self.before, self.sign = None, False, 1

    def expected(self):
        expected = None if self.at is None else i32(self.at + self.period)
        return None if expected == (1 << 31) - 1 else expected

    def came(self, fine):
        if self.expected() is None:
            self.at = fine
            return
        passed = i32(fine - self.at)
        error = i32(passed - self.period)
        if abs(error) > 12 * FINE:
            self.period, self.at = passed, fine
        else:
            self.at = i32(self.at + self.period + int(error / 2))
            self.period = i32(self.period + int(error / 16))


class Decoder:
    """`hints`: timing, one Hint a signal or none, the start table. `still`: the frame's flag."""

    def __init__(self, signals, usual, timing=ANY, hints=None, table=b"", still=False):
        own_table = len(table) == table_len(signals)
        table = table if own_table else usual

        def level(at):
            return table[at // 2] >> 4 * (at % 2) & 15

        self.timing = timing
        self.shared = [Chance(level(at), still) for at in range(SHARED)]
        self.signals = []
        for signal in range(signals):
            first = SHARED + (signal * OWN if own_table else 0)
            chances = [Chance(level(first + at), still) for at in range(OWN)]
            hint = hints[signal] if hints else Hint(signal, signals)
            self.signals.append(Signal(hint, chances))
        self.chosen, self.surprised, self.previous = 0, 0, None
        self.origin, self.last, self.error, self.beats, self.beat = 0, None, 0, 0, 0

    def batch(self, data, count):
        """The samples of a batch: (tick, signal, raw). The state stays: the next may be chained."""
        self.reader = Reader(data)
        if isinstance(self.timing, tuple) and self.timing[1] > 0:
            self.chosen = self.reader.flat(1)
        samples = []
        for _ in range(count):
            signal = self.signal()
            if signal >= len(self.signals):
                raise ValueError("a signal that the catalogue does not have")
            tick = self.tick(self.signals[signal])
            samples.append((tick, signal, self.value(self.signals[signal])))
            self.previous = signal
        return samples

    # Which signal

    def signal(self):
        last = self.signals[self.previous or 0]
        follower = 0 if self.previous is None else last.follower
        expected = self.earliest(follower) if self.timing == ANY else follower
        if not self.reader.bit(last.own[FOLLOWED]):
            signal = expected
        elif expected != follower and not self.reader.bit(self.shared[OTHER]):
            signal = follower
        else:
            node = 1
            for _ in range(6):
                node = 2 * node + self.reader.bit(self.shared[INDEX + node])
            signal = node - 64
        if self.previous is not None:
            last.follower = signal
        return signal

    def earliest(self, follower):
        expected = [(s.expected(), at) for at, s in enumerate(self.signals) if s.expected() is not None]
        if not expected:
            return follower
        first, signal = min(expected)
        follows = self.signals[follower].expected() if follower < len(self.signals) else None
        together = follows is not None and follows <= first + 4 * FINE
        return follower if together else signal

    # When

    def tick(self, signal):
        if self.last is None:
            if not self.reader.bit(self.shared[EPOCH]):
                top = 41
            elif not self.reader.bit(self.shared[EPOCH + 1]):
                top = 31
            else:
                top = self.reader.flat(6)
                if top == 41:
                    self.begin(-(1 << 63), signal)
                    return -(1 << 63)
            number = (1 << top) - 1 + self.reader.flat(top)
            number &= (1 << 64) - 1
            tick = i64(number >> 1 ^ -(number & 1))
            self.begin(tick, signal)
            return tick
        if not self.reader.bit(signal.own[SAME]):
            signal.came(i32(self.last * FINE))
            return i64(self.origin + self.last)
        if isinstance(self.timing, tuple):
            now = self.after_beats(max(1, self.timing[self.chosen]))
        else:
            now = self.after(signal)
        tick = i64(self.origin + now)
        if abs(now) > SPAN:
            self.begin(tick, signal)
        else:
            self.last = now
            signal.came(i32(now * FINE))
        return tick

    def begin(self, tick, signal):
        self.origin, self.last, self.error, self.beats, self.beat = tick, 0, 0, 0, 0
        for other in self.signals:
            other.at = None
        signal.at = 0

    def coded(self, first, second):
        rows = [self.shared[TICKS + 12 * row : TICKS + 12 * row + 12] for row in (first, second)]

        def more(step):
            return [row[2 + min(step, 9)] for row in rows]

        number = self.number([row[0] for row in rows], [row[1] for row in rows], more)
        return 0 if isinstance(number, Escape) else number

    def after(self, signal):
        after = i32(self.last + signal.interval)
        own = signal.expected()
        may_be_own = self.timing == ANY and own is not None
        if (
            may_be_own
            and signal.own_error < signal.next_error
            and own > i32(i32(self.last * FINE) - 8 * FINE)
        ):
            expected = i32(own + FINE // 2) // FINE
            sign = (self.error > 0) - (self.error < 0)
            rows = (1 + own % FINE // 4, 14 + sign)
        else:
            expected = after
            size = sum(signal.interval >= least for least in (1, 6, 100))
            error = self.error
            off = sum(error >= least for least in (-3, -1, 0, 1, 2, 4, 25))
            rows = (16 + size, 5 + off)
        error = self.coded(*rows)
        now = i64(expected + error)
        self.error = clamp(error, -1000, 1000)
        if own is not None:
            fine = i32(clamp(now, -SPAN, SPAN) * FINE)
            signal.own_error = follow(signal.own_error, i32(fine - own))
            signal.next_error = follow(signal.next_error, i32(fine - i32(after * FINE)))
        passed = i64(now - self.last)
        if abs(i64(passed - signal.interval)) <= 40:
            signal.wrong = 0
        else:
            signal.wrong += 1
            if signal.wrong > 2:
                signal.wrong = 0
                signal.interval = passed if passed == i32(passed) else 0
        return now

    def after_beats(self, period):
        node = 1
        for _ in range(3):
            node = 2 * node + self.reader.bit(self.shared[BEATS + 8 * self.beats + node])
        self.beats = node - 8
        if self.beats == NO_BEATS:
            now = i64(self.last + self.coded(0, 0))
            self.error = 0
            self.beat = i32(clamp(now, -SPAN, SPAN) * FINE)
            return now
        at = i32(self.beat + self.beats * period)
        expected = i32(at + FINE // 2) // FINE
        error = self.coded(1 + at % FINE // 4, 13 + clamp(self.error, -3, 3) + 3)
        now = i64(expected + error)
        self.error = clamp(error, -1000, 1000)
        off = clamp(i64(now * FINE - at), -48, 48)
        self.beat = i32(at + int(off / 8))
        return now

    # What value

    def value(self, signal):
        hint = signal.hint
        if signal.size is None:

            def more(step):
                return [self.shared[FIRST + 2 + near(hint.spread, step)]] * 2

            zero, sign = self.shared[FIRST], self.shared[FIRST + 1]
            off = self.number([zero] * 2, [sign] * 2, more)
            if isinstance(off, Escape):
                return self.exact(off)
            signal.last = i64(hint.expected + off)
            signal.size = 0
            return signal.last
        related = self.signals[hint.related] if hint.related < len(self.signals) else None
        moved, direction = (related.change, related.sign) if related else (0, 1)
        by = {
            "last": 0,
            "linear": signal.change,
            "half": -(signal.change >> 1),
            "mean": i32(signal.to_mean + 128) >> 8,
            "related": moved,
        }[hint.guess]
        stir = 0 if self.surprised == 0 else 1 if self.surprised <= 2 else 2
        change = sum(signal.change >= least for least in (-3, 0, 1, 4))
        own, usual = signal.own, signal.usual.bit_length()

        def more(step):
            last = own[LAST + 6 * signal.size + min(step, 5)]
            return [last, own[NEAR + near(usual, step)]]

        habit = own[HABIT + 3 * (2 * signal.size + signal.before) + stir]
        sign = own[SIGN + 3 * change + direction]
        zero = [habit, own[CHANGE + 3 * change + direction]]
        surprise = self.number(zero, [sign] * 2, more)
        if isinstance(surprise, Escape):
            return self.exact(surprise)
        value = i64(signal.last + by + surprise)
        moved = clamp(i64(value - signal.last), -(1 << 22), 1 << 22)
        from_value = i32(signal.to_mean - (moved << 8))
        signal.to_mean = clamp(i32(from_value - (from_value >> 2)), -(1 << 30), 1 << 30)
        signal.change, signal.last = moved, value
        magnitude = min(abs(surprise), 4095)
        signal.usual = signal.usual - (signal.usual + 3) // 4 + 4 * magnitude
        was = signal.size > 0
        signal.before = was
        signal.size = 0 if surprise == 0 else 1 if magnitude <= 2 else 2
        signal.sign = 1 + (surprise > 0) - (surprise < 0)
        self.surprised += (signal.size > 0) - was
        return value

    # What is no number of steps

    def exact(self, escape):
        flat = self.reader.flat
        if escape.kind == 0:
            return None
        if escape.kind in (1, 2):
            return {("single", "double")[escape.kind - 1]: flat(32 * escape.kind)}
        content = bytes(flat(8) for _ in range(flat(8)))
        return {"bytes": list(content)} if escape.kind == 3 else {"text": content.decode()}

    # Numbers

    def number(self, zero, sign, more):
        if not self.reader.bit(*zero):
            return 0
        negative = self.reader.bit(*sign)
        below = 0
        while below < 20 and self.reader.bit(*more(below)):
            below += 1
        step = below
        if step == 20:
            below += self.reader.flat(6)
            if below > 63:
                return Escape(below - 64)
        number, left, first = 1, below, DIGITS + 3 * min(step, 11)
        place = first
        for _ in range(min(below, 2)):
            digit = self.reader.bit(self.shared[place])
            number, left, place = number << 1 | digit, left - 1, first + 1 + digit
        number = number << left | self.reader.flat(left)
        return i64(-number if negative else number)


def near(usual, step):
    if usual <= 6:
        return 4 * max(usual - 2, 0) + min(step, 3)
    return 20 + clamp(step + 8 - usual, 0, 7)


def follow(error, off):
    return error - (error >> 4) + min(abs(off), 64 * FINE) // 4
