"""A window of the trainability picture: gdx beside the two loops that people write for it.

The net and the axes of Sohl-Dickstein, arXiv 2402.06184: 272 points, one hidden tanh layer of width 16, the step size
of the input layer against that of the output layer, a part of whose window blows up early.

Claim: faster than both loops. Bar 1.25x the best chunks, which know beforehand how wide they should be.

Measured on 2 cores: 2.06x the best chunks in float64 and 1.84x in float32, 9.3x and 7.7x the notebook's loop.

    python bench/trainability.py            # about six minutes on 2 cores
    python bench/trainability.py --toy      # seconds, figures without meaning

Typical printout: see bench/results/trainability-cpu.txt.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from engine import network
from timing import alternate, in_fresh_process, machine

import gdx


def family(hyperparams):
    """Gradient descent with a step size a layer."""
    return optax.multi_transform(
        {name: optax.sgd(hyperparams[name]) for name in ("input", "output")}, ("input", "output")
    )


def all_at_once(problem, points, num_steps):
    """As in a notebook: a Python loop over one vmapped step of all runs, each loss kept."""
    params, _ = problem.init(jax.random.key(0))

    @jax.jit
    @jax.vmap
    def step(params, input_size, output_size):
        value, gradient = jax.value_and_grad(lambda w: problem.loss(w, (), None)[0])(params)
        return (params[0] - input_size * gradient[0], params[1] - output_size * gradient[1]), value

    def run():
        many = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], points["input"].size, axis=0), params)
        losses = []
        for _ in range(num_steps):
            many, value = step(many, points["input"], points["output"])
            losses.append(value)
        return jnp.stack(losses)

    return run


def chunks(problem, points, num_steps, width):
    """Parts of `width` runs through a vmapped scan that keeps each loss."""
    step = gdx.train_step(problem, family)

    @jax.jit
    def chunk(points):
        states = jax.vmap(step.init, in_axes=(0, None))(points, jax.random.key(0))

        def body(states, _):
            states, view = jax.vmap(step.update)(states)
            return states, view.loss

        return jax.lax.scan(body, states, length=num_steps)[1]

    def run():
        total = points["input"].size
        return [chunk(jax.tree.map(lambda leaf, at=at: leaf[at : at + width], points)) for at in range(0, total, width)]

    return run


def measure(precision, toy):
    """Print, as JSON, runs a second of each contestant; in a fresh process."""
    jax.config.update("jax_enable_x64", precision == "float64")
    side, num_steps = (4, 32) if toy else (40, 500)
    first, second = np.meshgrid(np.geomspace(1e-1, 1e4, side), np.geomspace(1e-1, 1e4, side))
    points = {"input": jnp.asarray(first.ravel(), float), "output": jnp.asarray(second.ravel(), float)}
    problem, keys = network(), jax.random.split(jax.random.key(0), 1)
    run = gdx.sweep(problem, family, num_steps=num_steps)
    contestants = {f"chunks of {width}": chunks(problem, points, num_steps, width) for width in (8, 16, 64)}
    contestants |= {
        "all at once": all_at_once(problem, points, num_steps),
        "gdx": functools.partial(run, points, keys),
    }
    seconds = alternate(contestants, 1 if toy else 2)
    ended = float(np.mean(run(points, keys).steps < num_steps))
    print(json.dumps({name: side**2 / taken for name, taken in seconds.items()} | {"ended early": ended}))


def main():
    """Measure both precisions and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--precision", choices=("float32", "float64"))
    options = parser.parse_args()
    if options.precision:
        measure(options.precision, options.toy)
        return
    print(machine())
    print("runs a second, 40^2 of them, 500 steps each (bar: gdx 1.25x the best chunks)")
    for precision in ("float64", "float32"):
        found = in_fresh_process([sys.executable, __file__, "--precision", precision] + ["--toy"] * options.toy)
        ended, own = found.pop("ended early"), found.pop("gdx")
        print(f"\n{precision}, {ended:.2f} of the runs end early")
        for name, rate in found.items():
            print(f"{name:20s}{rate:10.4g}{own / rate:10.2f}x as fast with gdx")
        print(f"{'gdx':20s}{own:10.4g}")


if __name__ == "__main__":
    main()
