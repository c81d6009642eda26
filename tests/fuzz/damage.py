"""Bytes and values that go wrong in as many ways as files do."""

import math

SPECIAL_NUMBERS = (0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, 1e308, math.inf, -math.inf, math.nan)
SPECIAL_TEXTS = (
    *("", " ", ".", "..", "/", "../..", "a/b", "\0", "a\0b", "a\nb", "a\r\nb", "\u2028", "\x1b[31m", "\ufeff", "Ünï ñ"),
    *("a" * 300, "é", "e\u0301", "🦉", "\u202eabc", "\ud800", "-", "--epochs=1", "%s{0}", "NaN", "None", "9" * 5000),
)


def damaged(random, content):
    """The content as it is, or cut short, changed, grown or replaced."""
    kind = random.randrange(10)
    if kind == 0:
        return content
    if kind == 1:
        return random.randbytes(random.choice([0, 1, 2, 16, 300]))
    if kind == 2:
        return content[: random.randrange(len(content) + 1)]
    if kind == 3:
        return bytes(random.choice([0, 1, 4096]))
    if kind == 4:
        return content + random.randbytes(random.randrange(1, 600))
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8, 64]) if changed else 0):
        # Headers decide more than what follows them.
        end = random.choice([len(changed), len(changed), min(len(changed), 64)])
        position = random.randrange(end)
        if kind <= 6:
            changed[position] ^= 1 << random.randrange(8)
        elif kind == 7:
            changed[position] = random.choice([0, 1, 127, 128, 255, 10, 46])
        elif kind == 8:
            changed[position : position + 4] = random.choice(
                [b"\xff\xff\xff\x7f", b"\xff" * 4, bytes(4), b"\0\0\x4e\x20"]
            )
        else:
            del changed[position : position + random.randrange(1, 9)]
            if not changed:
                break
    return bytes(changed)


def any_text(random):
    """Text of every alphabet and length, special ones most of the time."""
    if random.randrange(4):
        return random.choice(SPECIAL_TEXTS)
    return "".join(chr(random.randrange(1, 0xD800)) for _ in range(random.randrange(30)))


def any_value(random, depth=3):
    """A value that JSON and pickles may hold."""
    kind = random.randrange(9 if depth else 6)
    if kind < 2:
        return random.choice(SPECIAL_NUMBERS)
    if kind < 4:
        return any_text(random)
    if kind == 4:
        return random.choice([None, True, False])
    if kind == 5:
        return random.randrange(-10, 1000)
    items = [any_value(random, depth - 1) for _ in range(random.randrange(5))]
    return items if kind < 8 else {any_text(random): item for item in items}


def replaced(random, value):
    """A copy of nested dicts and lists where one value or key, at any depth, is another, left out or there twice."""
    if isinstance(value, dict) and value and random.randrange(8):
        key = random.choice(list(value))
        kind = random.randrange(8)
        changed = dict(value)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[any_text(random)] = changed.pop(key)
        else:
            changed[key] = replaced(random, value[key])
        return changed
    if isinstance(value, list) and value and random.randrange(8):
        position = random.randrange(len(value))
        kind = random.randrange(8)
        changed = list(value)
        if kind == 0:
            del changed[position]
        elif kind == 1:
            changed.append(changed[position])
        else:
            changed[position] = replaced(random, value[position])
        return changed
    return any_value(random)
