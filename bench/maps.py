"""The trainability map: loops that people write for it, gdx dense, and gdx refined, side by side.

The net and the axes of Sohl-Dickstein, arXiv 2402.06184: 272 points, one hidden tanh layer of width 16, the step size
of the input layer against that of the output layer, 1e-3 to 1e6 each, 500 steps, float64; trained where the mean of the
last 20 losses is below the first.

Claims: gdx dense runs at least 9 times as many cells a second as (a), a Python loop over one vmapped step of all lanes
that keeps every loss, with equal labels; gdx refined is done with a map of 256^2 at least 40 times, with one of 1024^2
at least 150 times as soon as (a), within the wrong share that was asked for, 1e-3.

Measured on 2 idle cores, 1,024 cells sampled: dense 12.3x (a) and 2.8x (b), of 1,024 labels 8 differ, where rounding
decides (MISSED); refined 97x at 256^2 and 325x at 1024^2, with bounds of .1 % and .07 % on what is wrong. Dense reaches
21 % of a matrix product's operations a second; where the rest goes was not measured.

(a), (b), a vmapped scan in chunks of 64, and (c), gdx dense, run a seeded sample of the cells of the larger map; what
they would take for whole maps is extrapolated from that, and so labelled. (d), gdx refined, is timed as it is, without
compiling.

    python bench/maps.py            # some twenty minutes on 2 cores
    python bench/maps.py --toy      # seconds, figures without meaning

Typical printout: see bench/results/maps-cpu.txt.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from engine import network
from timing import alternate, machine
from trainability import all_at_once, chunks, family

import gdx

LOW, HIGH, TAIL = 1e-3, 1e6, 20
WIDTH = 64
"""Of the chunks of (b)."""
BARS = {"dense": 9.0, "small": 40.0, "large": 150.0}
MAX_WRONG = 1e-3


def axes():
    """Step sizes of the input and of the output layer."""
    return {"x": gdx.Axis("input", LOW, HIGH, "log"), "y": gdx.Axis("output", LOW, HIGH, "log")}


def sampled(resolution, number):
    """Hyperparameters of some cells of a map, drawn once."""
    offset = (np.arange(resolution) + np.sqrt(2) - 1) / resolution
    line = LOW * (HIGH / LOW) ** offset
    cells = np.random.default_rng(0).choice(resolution**2, number, replace=False)
    return {"input": jnp.asarray(line[cells % resolution]), "output": jnp.asarray(line[cells // resolution])}


def trained(losses):
    """The published criterion, of losses [T, N]."""
    losses = np.where(np.isfinite(losses), losses, 1e6)
    return losses[-TAIL:].mean(axis=0) < losses[0]


def operations(problem):
    """Floating-point operations of one step of one run, as XLA counts them."""
    params, _ = problem.init(jax.random.key(0))
    gradient = jax.jit(jax.value_and_grad(lambda w: problem.loss(w, (), None)[0]))
    cost = gradient.lower(params).compile().cost_analysis()
    return float(cost["flops"])


def matrix_rate():
    """Operations a second of a matrix product on all cores."""
    size = 1024
    matrix = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    product(matrix).block_until_ready()
    best = np.inf
    for _ in range(5):
        started = time.perf_counter()
        product(matrix).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def refined(run, keys, resolution):
    """Seconds of a refined map and the map; a second call's where the first compiled."""
    for _ in range(2):
        started = time.perf_counter()
        found = gdx.phase_map(
            run=run,
            **axes(),
            keys=keys,
            resolution=resolution,
            criterion="improved",
            max_wrong=MAX_WRONG,
            progress=False,
        )
        seconds = time.perf_counter() - started
        if found.compile_seconds == 0:
            break
    return seconds, found


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--sample", type=int, default=4096, help="cells that (a), (b) and (c) run")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    sides, num_steps = ((8, 16), 30) if options.toy else ((256, 1024), 500)
    number = 16 if options.toy else options.sample
    problem, keys = network(), jax.random.split(jax.random.key(0), 1)
    points = sampled(sides[1], number)
    run = gdx.sweep(problem, family, num_steps=num_steps, tail=TAIL, facts=())
    contestants = {
        "(a) a Python loop over one step": all_at_once(problem, points, num_steps),
        "(b) vmapped scan in chunks": chunks(problem, points, num_steps, min(WIDTH, number)),
        "(c) gdx dense": lambda: run(points, keys),
    }
    seconds = alternate(contestants, 1)
    names = list(contestants)
    rates = {name: number / seconds[name] for name in names}
    labels = trained(np.asarray(contestants[names[0]]()))
    runs = run(points, keys)
    same = np.mean(labels == np.asarray(gdx.improved(runs))[:, 0])
    print(machine())
    print(f"{number} cells of {sides[1]}^2, {num_steps} steps each; bar: dense {BARS['dense']:g}x (a), labels equal")
    for name, rate in rates.items():
        print(f"{name:34s}{rate:9.4g} runs a second{rate / rates[names[0]]:8.2f}x (a)")
    steps = float(np.mean(runs.steps))
    print(f"labels of (a) and (c): {same:.2%} equal; a run of (c) takes {steps:.0f} of {num_steps} steps in the mean")
    each = operations(problem)
    done, possible = rates[names[2]] * steps * each, matrix_rate()
    print(
        f"(c) makes {done / 1e9:.3g} GFLOP/s of the steps that count, a matrix product {possible / 1e9:.3g} "
        f"({done / possible:.0%}); (a) {rates[names[0]] * num_steps * each / 1e9:.3g}"
    )
    print(f"\n(d) gdx refined, at most {MAX_WRONG:g} wrong; the others extrapolated from the sample")
    for side, bar in zip(sides, (BARS["small"], BARS["large"]), strict=True):
        taken, found = refined(run, keys, side)
        others = ", ".join(f"{name[:3]} {side**2 / rate:.4g} s" for name, rate in rates.items())
        gain = side**2 / rates[names[0]] / taken
        computed = f"{np.mean(found.computed):.2%} computed, bound {found.audit.bound:.2g}"
        print(f"{side}^2: {taken:.4g} s, {gain:.4g}x as soon as (a), bar {bar:g}x; {computed}")
        print(f"  extrapolated: {others}", flush=True)


if __name__ == "__main__":
    main()
