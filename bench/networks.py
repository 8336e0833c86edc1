"""Whether the criterion "trains" finds the largest step size at which real networks train.

Claim (the bar): on every model the largest step size at which every start trains, as `gdx.critical_step_size` finds it
when told nothing but the problem, the optimizer, the starts and the horizon, lies within 1.5x, the referee's own grid
spacing, of what the referee finds.

The referee knows nothing of gdx: a plain optax loop under `jax.lax.scan`, three seeds at each of 33 step sizes. A run
trains when the mean training loss of its last tenth is below halfway between what a run that learns nothing reaches,
the first loss or that of the best constant prediction, whichever is lower, and the best last tenth of the grid. Its
answer U is the largest step size of the grid such that from the best one up to it all seeds train. A second road looks
at no loss: accuracy, or R^2, on all training data, in the mode in which the model is used, averaged over the last
tenth, above halfway between chance and the best of the grid. Where the roads differ both are printed; the bar is held
to the first. gdx is given the same starts and the same batches, since both move a boundary.

Beside it what the other criteria make of the very same runs: their first failure above a success, and their last
success.

Measured on 2 cores: all 14 models within, ratios of .76 to 1.41; 9 to 46 seconds a model, compilation included, and
"trains" is what the criterion resolves to on all. Closest to chance is the convolutional network with batch norm under
Adam: with points 1.12x apart one run of three fails at .47, none at .53 and .59, two at .66, all at .74. Rounding
alone, the same runs compiled in another order, moves the U of some models by a point of the grid. With batches no run
at all meets "converged", and "bounded" is met up to the end of the scan, 10, on most.

    python bench/networks.py                    # about ten minutes on 2 cores
    python bench/networks.py --only GRU --grid  # some of the models, with all that the referee saw
    python bench/networks.py --toy              # seconds, figures without meaning

Typical printout: see bench/results/networks-cpu.txt.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import MODELS, TOY
from timing import machine

import gdx

SPACING = 1.5
NUM_POINTS, NUM_SEEDS, NUM_STEPS = 33, 3, 400
NUM_LOOKS = 40
"""Times that a run is scored on all data; the last tenth of them counts."""
OTHERS = ("converged", "stable", "bounded", "improved")


class Truth(NamedTuple):
    """What the referee saw: the leaves are [S, R]."""

    step_sizes: np.ndarray
    losses: np.ndarray
    """Means over the last tenth; infinity where a run was not finite."""
    scores: np.ndarray
    trains: np.ndarray
    scores_well: np.ndarray
    nothing: float
    """Loss of a run that learns nothing."""
    largest: float
    largest_by_score: float


def train(model, num_steps, num_looks, step_size, key):
    """Train one model as anybody would: losses [T] and scores [looks]."""
    params, state = model.init(key)
    optimizer = model.family(step_size)
    # Batches are data too: those that gdx draws for this start.
    batch_key = jax.random.fold_in(key, 0)

    def step(carry, count):
        params, state, opt_state = carry
        batch = None if model.batches is None else model.batches(batch_key, count)
        (loss, state), gradient = jax.value_and_grad(model.loss, has_aux=True)(params, state, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), state, opt_state), loss

    def stretch(carry, counts):
        carry, losses = jax.lax.scan(step, carry, counts)
        return carry, (losses, model.score(carry[0], carry[1]))

    carry = (params, state, optimizer.init(params))
    _, (losses, scores) = jax.lax.scan(stretch, carry, jnp.arange(num_steps).reshape(num_looks, -1))
    return losses.reshape(-1), scores


def referee(model, keys, num_points, num_steps, num_looks, spacing=SPACING):
    """Train at every step size from every seed, and judge."""
    step_sizes = model.lowest * spacing ** np.arange(num_points)
    run = jax.vmap(jax.vmap(functools.partial(train, model, num_steps, num_looks), (None, 0)), (0, None))
    losses, scores = map(np.asarray, jax.jit(run)(jnp.asarray(step_sizes, jnp.float32), keys))
    tail = np.mean(losses[..., -num_steps // 10 :], axis=-1, dtype=float)
    tail = np.where(np.isfinite(tail), tail, np.inf)
    nothing = min(float(np.median(losses[..., 0])), model.idle_loss)
    trains = tail < 0.5 * (nothing + tail.min())
    end = np.mean(scores[..., -num_looks // 10 :], axis=-1, dtype=float)
    end = np.where(np.isfinite(tail) & np.isfinite(end), end, -np.inf)
    scores_well = end > 0.5 * (model.idle_score + end.max())
    largest = (last_of_all(step_sizes, good, tail) for good in (trains, scores_well))
    return Truth(step_sizes, tail, end, trains, scores_well, nothing, *largest)


def last_of_all(step_sizes, good, losses):
    """The largest step size such that from the best one up to it all seeds are good; NaN where they never are."""
    whole = np.all(good, axis=1)
    if not whole.any():
        return math.nan
    best = int(np.argmin(np.where(whole, np.mean(losses, axis=1), np.inf)))
    failures = np.flatnonzero(~whole[best:])
    return float(step_sizes[best + failures[0] - 1] if failures.size else step_sizes[-1])


def reach(edge, criterion):
    """First failure above the first success, and last success, of another criterion on the same runs."""
    found = np.asarray(gdx.answers(edge.runs, criterion))
    fails, meets = np.any(found == gdx.Answer.FAILED, axis=1), np.any(found == gdx.Answer.MET, axis=1)
    if not meets.any():
        return "never met"
    met = np.flatnonzero(meets)
    failed = np.flatnonzero(fails[met[0] :]) + met[0]
    last = f"{edge.step_sizes[met[-1]]:.3g}" + ("+" if met[-1] == len(meets) - 1 else "")
    return f"{edge.step_sizes[failed[0]]:.2g} .. {last}" if failed.size else f"none .. {last}"


def timed(call):
    """A result, and the seconds it took: on the clock, and of the processor, compilation included."""
    started, used = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - started, time.process_time() - used


def compare(name, model, keys, num_points, num_steps, num_looks, grid):
    """Print one model's row; whether gdx is within the bar."""
    truth, *referee_seconds = timed(lambda: referee(model, keys, num_points, num_steps, num_looks))
    edge, *seconds = timed(lambda: gdx.critical_step_size(model.problem, model.family, keys=keys, num_steps=num_steps))
    found, last = edge.first_failure.lower, edge.last_success.lower
    ratio = found / truth.largest
    within = edge.criterion == "trains" and abs(math.log(ratio)) <= math.log(SPACING) + 1e-6
    by_score = "" if truth.largest_by_score == truth.largest else f"{truth.largest_by_score:.3g}"
    print(
        f"{name:38s}{truth.largest:9.3g}{by_score:>9s}{found:11.3g}{last:9.3g}{ratio:7.2f} {'ok ' if within else 'OFF'}"
        f"{edge.spread:8.2f}{edge.step_sizes.size:7d}{seconds[0]:7.1f}{seconds[1]:7.1f}{referee_seconds[1]:7.1f}  "
        + "".join(f"{reach(edge, criterion):>20s}" for criterion in OTHERS),
        flush=True,
    )
    if grid:
        show_grid(truth)
    return within


def show_grid(truth):
    print(f"    learns nothing: {truth.nothing:.4g}; step size, losses, scores, trains, scores well")
    for row in zip(*truth[:5], strict=True):
        losses, scores = (" ".join(f"{value:9.3g}" for value in values) for values in row[1:3])
        trains, well = ("".join("-T"[int(value)] for value in values) for values in row[3:])
        print(f"    {row[0]:9.3g}  {losses}  {scores}  {trains} {well}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--grid", action="store_true", help="print all that the referee saw")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of the models to run")
    parser.add_argument("--seed", type=int, default=0, help="of the starts and batches")
    options = parser.parse_args()
    # A toy compiles for seconds to run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", options.toy)
    num_points, num_seeds, num_steps, num_looks = (
        (8, 2, 40, 10) if options.toy else (NUM_POINTS, NUM_SEEDS, NUM_STEPS, NUM_LOOKS)
    )
    print(machine())
    print(f'bar: first failure of "trains" within {SPACING}x of the referee\'s U, on every model')
    print(f"{num_steps} steps, {num_seeds} starts; the referee's grid has {num_points} step sizes, {SPACING}x apart\n")
    print(
        f"{'':38s}{'U':>9s}{'by score':>9s}{'gdx trains':>11s}{'to':>9s}{'/ U':>7s}    {'spread':>8s}{'points':>7s}"
        f"{'s':>7s}{'CPU s':>7s}{'ref.':>7s}  " + "".join(f"{criterion:>20s}" for criterion in OTHERS)
    )
    keys = jax.random.split(jax.random.key(options.seed), num_seeds)
    models = (
        TOY
        if options.toy
        else {name: make for name, make in MODELS.items() if any(part in name for part in options.only)}
    )
    sizes = (num_points, num_steps, num_looks, options.grid)
    within = [compare(name, make(), keys, *sizes) for name, make in models.items()]
    print(f"\nwithin the bar: {sum(within)} of {len(within)}")


if __name__ == "__main__":
    main()
