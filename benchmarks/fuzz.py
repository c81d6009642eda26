"""Fuzzes the package with wrong inputs of all kinds: each must give a result or an error of one line.

The generators are those of `tests/fuzz`, which tries a few inputs of each kind.

Run: python -m benchmarks.fuzz --seconds=240 [--seed=0] [--kind="features file"]
"""

import argparse
import os
import sys
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> int:
    """Tries inputs of each kind in turn until the time is over. Returns 1 if an input broke the rule, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="Duration in seconds.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the first input. Each further input adds 1.")
    parser.add_argument("--kind", help="Test only this kind of input.")
    arguments = parser.parse_args()

    from absl import logging

    from tests.fuzz.inputs import KINDS, NotToldError, seeded, try_input

    # Each damaged image would print a warning.
    logging.set_verbosity(logging.ERROR)
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    spent, slowest = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    counts = {kind: {"value": 0, "error": 0, "broken": 0} for kind in kinds}
    started = time.monotonic()
    while time.monotonic() - started < arguments.seconds:
        # The same time for each kind.
        kind = min(kinds, key=spent.get)
        seed = arguments.seed + sum(counts[kind].values())
        before = time.monotonic()
        try:
            found, seconds = try_input(kind, seeded(seed))
            slowest[kind] = max(slowest[kind], seconds)
        except NotToldError as error:
            found = "broken"
            print(f"{kind}, --seed={seed}: {str(error)[:300]!r}", file=sys.stderr)
            traceback.print_exception(error.__cause__, limit=-3, file=sys.stderr)
        counts[kind][found] += 1
        spent[kind] += time.monotonic() - before
    print(f"{'kind':<18}{'inputs':>8}{'values':>8}{'one line':>10}{'broken':>8}{'slowest':>10}")
    for kind, count in counts.items():
        numbers = f"{sum(count.values()):>8}{count['value']:>8}{count['error']:>10}{count['broken']:>8}"
        print(f"{kind:<18}{numbers}{slowest[kind]:>8.2f} s")
    sys.exit(any(count["broken"] for count in counts.values()))


if __name__ == "__main__":
    main()
