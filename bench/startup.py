"""What importing gdx adds to importing jax and optax.

Claim: under 15 %.

    python bench/startup.py

Typical printout (2 cores, AMD EPYC): see bench/results/startup-cpu.txt.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from timing import in_fresh_process, machine

CODE = """
import json, time
start = time.perf_counter()
import jax, optax
middle = time.perf_counter()
import gdx
print(json.dumps({"base": middle - start, "gdx": time.perf_counter() - middle}))
"""


def main():
    """Import in fresh processes and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    rounds = 1 if parser.parse_args().toy else 15
    print(machine())
    in_fresh_process([sys.executable, "-c", CODE])  # writes the bytecode
    taken = [in_fresh_process([sys.executable, "-c", CODE]) for _ in range(rounds)]
    base, added = (statistics.median(row[name] for row in taken) for name in ("base", "gdx"))
    share = statistics.median(row["gdx"] / row["base"] for row in taken)
    print(f"jax and optax {base:.3f} s, gdx {added:.3f} s more: {100 * share:.1f} % (bar 15 %), median of {rounds}")


if __name__ == "__main__":
    main()
