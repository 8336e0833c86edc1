"""Whether `gdx.stability` says the right step size where learning-rate finders guess, and how long it takes.

Claims: on every model the largest step size that `gdx.stability` gives within its budget of 60 s on 2 cores lies within
1.2x, the referee's grid, of what the referee finds, or the referee's lies inside of the bracket that it gives.

The referee knows nothing of gdx: plain optax loops, three seeds at each of a grid 1.5x apart (see bench/networks.py),
and again at each of a grid 1.2x apart around what that gave. U is the largest step size such that from the best one up
to it all seeds train; "none" the smallest beyond which no seed does. Suggestions of range tests are those of one run of
100 steps from 1e-7 to 10, by the rules that finders use; their ratio to the referee's best step size is shown. Where
torch-lr-finder and Lightning are installed they are handed the same curve: the former's suggestion must be what is here
called steepest, the latter's (steepest against the step size itself, not its logarithm) has a column of its own.

Measured on 2 idle cores: 13 of 14 models within, each answer in 10 to 56 s, 23,000 to 43,000 gradients; the best step
size within 2.2x of the referee's. Of range tests of 100 gradients minimum / 10 is .08x to 2.4x of that, the steepest
point down to 1/20,000 of it, the valley 11 to 2,200 times too low, Lightning's suggestion 7,000 to 1,500,000 times too
low. On the fourteenth, a regression on 442 rows, one start dies at .316, in the referee's as in both of gdx's roads,
and trains again at .38 and .45: gdx's answer ends below the failure, the other begins above.

    python bench/peers.py                     # nine minutes on 2 cores
    python bench/peers.py --only transformer  # some of the models
    python bench/peers.py --toy               # seconds, figures without meaning

Typical printout: see bench/results/peers-cpu.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import time

import jax
import numpy as np
from models import MODELS, TOY
from networks import NUM_LOOKS, NUM_POINTS, NUM_SEEDS, NUM_STEPS, SPACING, last_of_all, referee
from timing import machine

import gdx
from gdx.studies.stability.plain import RANGE

FINE = 1.2
BUDGET = 60.0
ROUND = (-2, 9)
"""First and last point of the fine grid, in its spacings from U."""


def fine_truth(model, keys, num_points, num_steps, num_looks):
    """The referee's U and its first step size without success on a grid 1.2x apart, and its best step size and loss."""
    coarse = referee(model, keys, num_points, num_steps, num_looks)
    if not math.isfinite(coarse.largest):
        return math.nan, math.nan, math.nan, math.nan
    lowest = coarse.largest * FINE ** ROUND[0]
    grid = model._replace(lowest=lowest)
    fine = referee(grid, keys, ROUND[1] - ROUND[0] + 1, num_steps, num_looks, spacing=FINE)
    sizes = np.concatenate([coarse.step_sizes, fine.step_sizes])
    order = np.argsort(sizes)
    losses = np.concatenate([coarse.losses, fine.losses])[order]
    trains = losses < 0.5 * (coarse.nothing + losses.min())
    largest = last_of_all(sizes[order], trains, losses)
    some = np.flatnonzero(trains.any(axis=1))
    none = sizes[order][some[-1] + 1] if some[-1] + 1 < sizes.size else math.inf
    middle = np.median(losses, axis=1)
    best = int(np.argmin(middle))
    return largest, float(none), float(sizes[order][best]), float(middle[best])


def by_lightning(test):
    """What Lightning's finder suggests on a curve; None where it is not installed."""
    try:
        from lightning.pytorch.tuner.lr_finder import _LRFinder
    except ImportError:
        return None
    finder = _LRFinder("exponential", *RANGE)
    finder.results = {"lr": test.step_sizes.tolist(), "loss": test.losses.tolist()}
    return finder.suggestion() or math.nan


def by_torch_lr_finder(test):
    """What torch-lr-finder suggests on a curve; None where it is not installed."""
    try:
        from torch_lr_finder import LRFinder
    except ImportError:
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    finder = LRFinder.__new__(LRFinder)
    finder.history = {"lr": test.step_sizes.tolist(), "loss": test.losses.tolist()}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return finder.plot(ax=plt.figure().gca())[1]
    except RuntimeError:
        # Of a test that ended within its first steps.
        return math.nan
    finally:
        plt.close("all")


def compare(name, model, keys, sizes, budget):
    """Print one model's row; whether gdx is within the bar."""
    started = time.perf_counter()
    largest, none, best, best_loss = fine_truth(model, keys, *sizes)
    seconds = time.perf_counter() - started
    found = gdx.stability(model.problem, model.family, keys=keys, num_steps=sizes[1], budget=budget, progress=False)
    lower, upper = found.largest_step
    within = lower / FINE <= largest * (1 + 1e-9) and largest <= max(upper, lower * FINE) * (1 + 1e-9)
    suggestions = found.range_test.suggestions
    rules = [f"{value / best:10.2g}" for value in suggestions.values()]
    theirs, lightning = by_torch_lr_finder(found.range_test), by_lightning(found.range_test)
    if theirs is not None:
        np.testing.assert_allclose(theirs, suggestions["steepest"], err_msg="torch-lr-finder says otherwise")
    rules.append(f"{'absent' if lightning is None else format(lightning / best, '.2g'):>10s}")
    gradients = int(np.sum(found.runs.steps)) if found.runs is not None else 0
    cells = [
        f"{name:40s}{largest:9.3g}{none:9.3g}{lower:9.3g}{upper:9.3g}",
        f"{lower / largest:7.2f} {'ok ' if within else 'OFF'}",
        f"{best:10.3g}{found.best:9.3g}{best_loss:10.3g}{found.best_loss:10.3g}",
        *rules,
        f"{found.num_trainings:7d}{gradients / 1e3:10.0f}k{found.seconds:7.1f}{seconds:7.1f}",
        f"  {found.trust.num_agree}/{found.trust.num_runs}",
    ]
    print("".join(cells), flush=True)
    return within


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of the models to run")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds that gdx may take for each")
    parser.add_argument("--seed", type=int, default=0, help="of the starts and batches")
    options = parser.parse_args()
    # A toy compiles for seconds to run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", options.toy)
    num_seeds, *sizes = (2, 8, 40, 10) if options.toy else (NUM_SEEDS, NUM_POINTS, NUM_STEPS, NUM_LOOKS)
    budget = 5.0 if options.toy else options.budget
    print(machine())
    print(f"{sizes[1]} steps, {num_seeds} starts; referee's grids {SPACING}x and {FINE}x apart; budget {budget:g} s")
    print("rules of range tests: what they suggest over the referee's best step size, after 100 gradients")
    print("gradients: of the scan, without causes, margin and plain runs\n")
    names = ("U", "none", "gdx", "to"), ("best", "gdx", "loss", "gdx"), ("steepest", "valley", "min / 10", "Lightning")
    numbers, bests = ("".join(f"{one:>9s}" for one in part) for part in names[:2])
    rules = "".join(f"{one:>10s}" for one in names[2])
    costs = f"{'runs':>7s}{'gradients':>11s}{'s':>7s}{'ref. s':>7s}  confirmed"
    print(f"{'':40s}{numbers}{'/ U':>7s}     {bests}{rules}{costs}")
    keys = jax.random.split(jax.random.key(options.seed), num_seeds)
    every = {name: make for name, make in MODELS.items() if any(part in name for part in options.only)}
    models = TOY if options.toy else every
    within = [compare(name, make(), keys, sizes, budget) for name, make in models.items()]
    print(f"\nwithin the bar: {sum(within)} of {len(within)}")


if __name__ == "__main__":
    main()
