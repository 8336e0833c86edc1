"""How little of the trainability map has to be run, and how much of the rest is filled in wrongly.

The net and the axes of Sohl-Dickstein, arXiv 2402.06184: 272 points, one hidden tanh layer of width 16, the step size
of the input layer against that of the output layer, 1e-3 to 1e6 each, 500 steps, float64; trained where the mean of the
last 20 losses is below the first. The dense map is run once, and then refined over again with labels looked up in it,
which gives exactly what `gdx.phase_map` would, for as many audits as there are seeds.

Claim: at 512^2 under 6 % of the cells are run and under .05 % of the map is wrong, and the bound covers what is wrong.
Bars 6 % and .05 %; both at a smooth boundary, a circle at 1024^2, are 5 % and .01 %.

    python bench/map_accuracy.py                      # 512^2: an hour on 2 cores; --keep keeps the dense map
    python bench/map_accuracy.py --resolution 128     # minutes
    python bench/map_accuracy.py --toy                # seconds, figures without meaning

Typical printout: see bench/results/map-accuracy-cpu.txt, of 128^2 on 2 busy cores, a map so small that its audit is
most of it. At 512^2 `gdx.phase_map` alone ran 4.93 % of the cells, of 3,227 that its audit drew none was wrong; the
dense map beside it has not been run there yet.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import jax
import numpy as np
from engine import network
from timing import machine
from trainability import family

import gdx
from gdx.maps import refine

SEEDS = 10


def dense_map(resolution, num_steps, keep):
    """Answers of the dense map, taken from a file where it is there."""
    if keep is not None and keep.exists():
        return np.load(keep), 0.0
    started = time.perf_counter()
    found = gdx.phase_map(
        network(),
        family,
        x=gdx.Axis("input", 1e-3, 1e6, "log"),
        y=gdx.Axis("output", 1e-3, 1e6, "log"),
        keys=jax.random.split(jax.random.key(0), 1),
        num_steps=num_steps,
        resolution=resolution,
        criterion="improved",
        tail=min(20, num_steps),
        facts=(),
        dense=True,
    )
    if keep is not None:
        np.save(keep, found.answers)
    return found.answers, time.perf_counter() - started


def circle(size):
    """A map whose boundary is smooth."""
    y, x = np.mgrid[:size, :size] / size
    return (np.hypot(x - 0.46, y - 0.53) < 0.31).astype(int)


def measure(name, labels, max_wrong):
    """Refine a map that is known, and print what it cost and what is wrong."""
    found = [
        refine(labels.shape, lambda cells: labels.flat[cells], max_wrong=max_wrong, seed=seed) for seed in range(SEEDS)
    ]
    computed = [float(np.mean(one.computed)) for one in found]
    wrong = [float(np.mean(one.labels != labels)) for one in found]
    covered = sum(share <= one.audit.bound for share, one in zip(wrong, found, strict=True))
    rounds = np.mean([len(one.audit.rounds) for one in found])
    print(
        f"{name:24s}{100 * np.median(computed):8.2f} %{100 * max(computed):8.2f} %{100 * np.mean(wrong):10.4f} %"
        f"{100 * max(wrong):10.4f} %{covered:6d}/{SEEDS}{rounds:8.1f}",
        flush=True,
    )


def main():
    """Measure the trainability map and a smooth one, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--max-wrong", type=float, default=1e-3)
    parser.add_argument("--keep", type=pathlib.Path, help="file for the answers of the dense map, as .npy")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    resolution, num_steps = (8, 20) if options.toy else (options.resolution, 500)
    print(machine())
    print("bars: trainability at 512^2 under 6 % computed and .05 % wrong, smooth at 1024^2 under 5 % and .01 %")
    print(f"{'map':24s}{'computed':>10s}{'at most':>10s}{'wrong':>12s}{'at most':>12s}{'covered':>9s}{'rounds':>8s}")
    labels, seconds = dense_map(resolution, num_steps, options.keep)
    measure(f"trainability {resolution}^2", labels, options.max_wrong)
    size = 64 if options.toy else 1024
    measure(f"circle {size}^2", circle(size), options.max_wrong)
    if seconds:
        print(f"the dense map took {seconds:.4g} s, {labels.size / seconds:.4g} runs a second")


if __name__ == "__main__":
    main()
