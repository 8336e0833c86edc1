"""What it costs to watch the margin of a running job.

Claims: with one measurement in ten steps an MLP of about 1e6 parameters in float32 trains at most 25 % slower where the
training batch itself is watched, and at most 10 % where a quarter of it is.

Measured on 2 idle cores: batches of 1,024 take 24 to 26 % and 9 to 10 %, batches of 256 take 30 to 33 % and 18 to 21 %,
over both bars.

    python bench/margin.py            # about five minutes on 2 cores
    python bench/margin.py --toy      # seconds, figures without meaning

A contestant is a compiled scan of training steps, begun after the first measurement, which spends up to 32 products
once; overhead is time over that of the bare optimizer, the best of several rounds in turn.

Typical printout: see bench/results/margin-cpu.txt.
"""

from __future__ import annotations

import argparse
import functools

import jax
import jax.numpy as jnp
import optax
from curvature import network
from timing import alternate, machine

import gdx

EVERY = 10
FAMILIES = (
    ("gradient descent", optax.sgd, 0.05),
    ("heavy ball", functools.partial(optax.sgd, momentum=0.9), 0.01),
    ("adam", optax.adam, 1e-3),
)


def training(transformation, loss, params, batch, watched_share=None, num_steps=EVERY * 4):
    """A compiled scan of steps, from a state in which the first measurement has been made."""

    def update(gradient, state, params):
        if watched_share is None:
            return transformation.update(gradient, state, params)
        watched = jax.tree.map(lambda leaf: leaf[: int(len(leaf) * watched_share)], batch)
        return transformation.update(gradient, state, params, batch=watched)

    def step(carry, _):
        params, state = carry
        updates, state = update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=num_steps)[0])
    carry = run((params, transformation.init(params)))
    return lambda: run(carry)


def compare(name, family, step_size, loss, params, batch, rounds):
    """Print the overhead of watching all of the batch and a quarter of it."""
    watched = gdx.edge_margin(family, step_size, loss, every=EVERY)
    seconds = alternate(
        {
            "bare": training(family(step_size), loss, params, batch),
            "all": training(watched, loss, params, batch, 1.0),
            "quarter": training(watched, loss, params, batch, 0.25),
        },
        rounds,
    )
    step = seconds["bare"] / (4 * EVERY) * 1e3
    overhead = {share: 100 * (seconds[share] / seconds["bare"] - 1) for share in ("all", "quarter")}
    row = f"{name}, {len(jax.tree.leaves(batch)[0])}"
    print(f"{row:24s}{step:12.3g}{overhead['all']:14.1f} %{overhead['quarter']:14.1f} %")


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    # A toy compiles for seconds to run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", toy)
    print(machine())
    rounds = 1 if toy else 7
    for examples in (16,) if toy else (256, 1024):
        loss, params, data = network((8, 12, 4) if toy else (64, 960, 960, 10), examples)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"\n{size} parameters, one measurement in {EVERY} steps; overhead of a training step by what is watched")
        print(f"{'optimizer, batch':24s}{'step, ms':>12s}{'all':>16s}{'a quarter':>16s}")
        print(f"{'bar':24s}{'':>12s}{'25 %':>16s}{'10 %':>16s}")
        batch = jax.tree.map(jnp.asarray, data)
        for name, family, step_size in FAMILIES[:1] if toy else FAMILIES:
            compare(name, family, step_size, loss, params, batch, rounds)


if __name__ == "__main__":
    main()
