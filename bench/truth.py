"""Estimates of edges on random losses that nobody tuned for, held to plain optax loops.

Claim (the bar): of 500 random losses of 32 kinds that are neither quadratics nor factorizations, no estimate of
`gdx.critical_step_size` is off by more than 3 of its bars, and none lies outside its own bracket by more than the
horizon explains, ln(1/tolerance) / (num_steps |d rate / d ln step_size|).

The truth comes from `truths/referee.py`: plain optax loops on grids of step sizes at growing horizons, and the largest
eigenvalue of the dense Hessian where a minimum loses its stability. Where answers alternate along the axis, gdx's scan
may find another crossing than the referee's finer grid; an estimate of a true crossing is right, and counted apart.

    python bench/truth.py                          # 500 losses
    python bench/truth.py --number 60 --seed 3
    python bench/truth.py --workers 16             # on more cores
    python bench/truth.py --toy                    # seconds, figures without meaning

Measured on the 500 losses of seed 0: 69 % got a number, none beyond 3 bars, none outside its bracket, 96 % of the local
edges with a bar below 1e-6. Ctrl-C counts what was held so far; `--kept FILE` remembers truths, which no change of gdx
touches.

Typical printout: see bench/results/truth-cpu.txt.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import math
import multiprocessing
import pathlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
from timing import machine
from truths import draws, referee

import gdx

NUM_STEPS, TOLERANCE = 5000, 1e-6
SHARP = 1e-6
"""Bar of a local edge, relative, that is asked for in nine cases of ten."""


class Held(NamedTuple):
    """What became of one case."""

    case: draws.Case
    truth: referee.Truth
    edge: gdx.Edge | None
    bars: float
    """Distance of the estimate from the truth in bars; NaN without an estimate."""
    outside: float
    """By how much of what the horizon explains the estimate lies outside its bracket; at most 1 is right."""
    crossing: str
    """"first", "another" or "none" of those that runs show."""
    seconds: float
    """Of a processor, with compiling."""
    error: str
    """Of an exception."""


def critical(case: draws.Case, num_steps: int) -> gdx.Edge:
    """Ask gdx."""
    return gdx.critical_step_size(
        gdx.problem(case.start, case.loss),
        case.family,
        keys=jax.random.split(jax.random.key(case.seed), 1),
        num_steps=num_steps,
        tolerance=TOLERANCE,
        criterion="converged",
    )


def distance(estimate, truth: referee.Truth) -> float:
    """Of an estimate from the truth, in bars; within what is not known of the truth it is 0."""
    if not np.isfinite(truth.value):
        return math.inf
    away = max(abs(estimate.value - truth.value) - truth.uncertainty, 0.0)
    return away / estimate.error if estimate.error > 0 else math.inf * away if away else 0.0


def outside(case: draws.Case, edge: gdx.Edge) -> float:
    """How far an estimate lies outside its bracket, in units of what the horizon explains."""
    value, upper = edge.estimate.value, edge.first_failure.upper
    # The runs between the last success and the first failure are undecided.
    met = (edge.answers[:, 0] == gdx.Answer.MET) & (edge.step_sizes < upper)
    lower = float(np.max(edge.step_sizes, where=met, initial=0.0))
    slope = draws.OPTIMIZERS[case.optimizer].sharpness_of_rate
    if value > upper:
        return (value - upper) / (1.5 * value * math.log(1 / TOLERANCE) / (edge.horizon * slope))
    # Beyond an edge what grows may begin at rounding, and a run comes to rest before it is seen; or far below rounding,
    # where the minimum is at 0, down to what the gradients of these very runs show.
    fallen = edge.runs.tail_gradient_norm_min / edge.runs.first_gradient_norm
    smallest = np.min(fallen, initial=1.0, where=edge.answers == gdx.Answer.MET)
    depth = max(math.log(1 / np.finfo(float).eps), -math.log(max(smallest, np.finfo(float).tiny)))
    return max(lower - value, 0) / (value * depth / (edge.horizon * slope))


def remembered(case: draws.Case, kept: pathlib.Path | None) -> referee.Truth:
    """Ask the referee, or a file in which an earlier answer was kept: it does not depend on gdx."""
    known = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    if case.words not in known:
        known[case.words] = referee.find(case)
        if kept is not None:
            kept.write_text(json.dumps(known, indent=0))
    return referee.Truth(*known[case.words])


def hold(case: draws.Case, num_steps: int, kept: pathlib.Path | None = None) -> Held:
    """Hold what gdx says of a case to what plain runs say."""
    started = time.process_time()
    try:
        edge, error = critical(case, num_steps), ""
    except Exception as raised:
        # Whatever is raised is this case's failure, and the others go on.
        edge, error = None, f"{type(raised).__name__}: {raised}"
    seconds = time.process_time() - started
    truth = remembered(case, kept)
    if edge is None or not math.isfinite(edge.estimate.value):
        return Held(case, truth, edge, math.nan, 0.0, "", seconds, error)
    bars, crossing = distance(edge.estimate, truth), "first"
    if bars > 3:
        nearby = referee.find(case, edge.estimate.value)
        there = distance(edge.estimate, nearby)
        crossing = "none"
        if there <= 3:
            truth, bars, crossing = nearby, there, "another"
    return Held(case, truth, edge, bars, outside(case, edge), crossing, seconds, error)


def hold_all(all_cases: list[draws.Case], num_steps: int, kept: pathlib.Path | None, workers: int) -> Iterator[Held]:
    """Hold many, in processes side by side where there is more than one worker."""
    if workers == 1:
        yield from (hold(case, num_steps, kept) for case in all_cases)
        return
    # Cases of one kind under one optimizer share what they compile. A file of truths has one writer.
    alike = collections.defaultdict(list)
    for case in all_cases:
        alike[case.name, case.optimizer].append(case)
    together = functools.partial(_hold_some, num_steps=num_steps)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done in pool.imap_unordered(together, sorted(alike.values(), key=len, reverse=True)):
            yield from done


def _hold_some(some, num_steps):
    return [_light(hold(case, num_steps)) for case in some]


def _light(held):
    """Without the runs, which nothing here looks at and which would travel between processes."""
    return held if held.edge is None else held._replace(edge=held.edge._replace(runs=None))


def is_wrong(held: Held) -> bool:
    """Whether a number is wrong, or an exception was raised."""
    return bool(held.error) or held.bars > 3 or held.outside > 1


def describe(held: Held) -> str:
    """Everything that is needed to repeat a case, and what was said of it."""
    truth, edge = held.truth, held.edge
    lines = [f"draws.{held.case.words}"]
    lines.append(
        f"    truth    {truth.value:.15g} +- {truth.uncertainty:.1e} {truth.kind} ({truth.note}); "
        f"plain runs [{truth.lower:.9g}, {truth.upper:.9g}]"
    )
    if edge is None:
        return "\n".join([*lines, f"    raised   {held.error}"])
    estimate = edge.estimate
    lines.append(
        f"    estimate {estimate.value:.15g} +- {estimate.error:.1e} {estimate.kind.value} by {estimate.method}: "
        f"{estimate.reason}"
    )
    lines.append(
        f"    bracket  [{edge.first_failure.lower:.9g}, {edge.first_failure.upper:.9g}] {edge.status.value}; "
        f"off by {held.bars:.3g} bars, outside its bracket by {held.outside:.3g} of what the horizon explains"
    )
    return "\n".join(lines)


def report(all_held: list[Held]) -> str:
    """Count."""
    numbers = [h for h in all_held if math.isfinite(h.bars) or math.isinf(h.bars)]
    local = [h for h in all_held if h.truth.kind == "local"]
    sharp = [h for h in local if h in numbers and h.edge.estimate.error <= SHARP * h.edge.estimate.value]
    seconds = np.array([h.seconds for h in all_held])
    lines = [
        f"{len(all_held)} losses; kinds of edges: {dict(collections.Counter(h.truth.kind for h in all_held))}",
        f"got a number        {len(numbers):4d}  ({100 * len(numbers) / len(all_held):.0f} %)",
        f"beyond 1 bar        {sum(h.bars > 1 for h in numbers):4d}",
        f"beyond 3 bars       {sum(h.bars > 3 for h in numbers):4d}  (bar: 0)",
        f"outside the bracket {sum(h.outside > 1 for h in numbers):4d}  (bar: 0)",
        f"another crossing    {sum(h.crossing == 'another' for h in numbers):4d}",
        f"raised              {sum(bool(h.error) for h in all_held):4d}  (bar: 0)",
        f"local edges         {len(local):4d}, with a number {sum(h in numbers for h in local)}, "
        f"with a bar below {SHARP:g} of it {len(sharp)} ({100 * len(sharp) / max(len(local), 1):.0f} %, bar: 90 %)",
        f"processor seconds   {np.median(seconds):.1f} in the median, {seconds.max():.1f} at most",
    ]
    for kind in ("local", "basin", "alternating", "bracketed", "none"):
        of_kind = [h for h in all_held if h.truth.kind == kind]
        if of_kind:
            lines.append(f"    {kind:12s} {len(of_kind):4d}, with a number {sum(h in numbers for h in of_kind)}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=pathlib.Path, help="file of truths found before, and for those found now")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side; --kept goes with one alone")
    parser.add_argument("--all", action="store_true", help="describe cases without a number as well")
    given = parser.parse_args()
    number, num_steps = (4, 500) if given.toy else (given.number, NUM_STEPS)
    print(machine())
    print(f"bar: no estimate beyond 3 bars of the truth, none outside its bracket; T = {num_steps}")
    all_held = []
    try:
        for held in hold_all(draws.cases(number, given.seed), num_steps, given.kept, given.workers):
            all_held.append(held)
            if is_wrong(held) or held.bars > 1:
                print(f"\n{'WRONG' if is_wrong(held) else 'over '} {describe(held)}", flush=True)
            elif given.all and not math.isfinite(held.bars):
                print(f"\nnone  {describe(held)}", flush=True)
    except KeyboardInterrupt:
        # An hour's work is not lost by leaving early.
        print("\ninterrupted")
    if all_held:
        print("\n" + report(all_held))


if __name__ == "__main__":
    main()
