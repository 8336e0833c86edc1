"""Sweeps whose single step is heavy: convolutions, another loss for verdicts, and what compiling costs.

Claims: a sweep of a convolutional network is at least as fast as a plain Python loop over a jitted optax step, run
after run, in steady state; with mini-batches and a `full_loss` a sweep takes within 1.2x of the best plain vmapped scan
that trains the same and evaluates that loss as often.

    python bench/heavy_steps.py            # about a minute on 2 cores
    python bench/heavy_steps.py --toy      # seconds, figures without meaning

Typical printout: see bench/results/heavy-steps-cpu.txt.
"""

from __future__ import annotations

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import alternate, machine

import gdx
from gdx.stepping import evaluation
from gdx.sweeps.sizing import choose_blocks


def cross_entropy(logits, labels):
    """Mean over examples."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def random_weights(shapes):
    """Make an init that draws one array a shape, scaled by its fan-in."""

    def init(key):
        keys = jax.random.split(key, len(shapes))
        return [
            jax.random.normal(k, shape) / np.sqrt(np.prod(shape[:-1])) for k, shape in zip(keys, shapes, strict=True)
        ]

    return init


def convolutional(size, channels, examples):
    """Two convolutions and a linear layer on random images."""
    x_key, y_key = jax.random.split(jax.random.key(0))
    images = jax.random.normal(x_key, (examples, size, size, 1))
    labels = jax.random.randint(y_key, (examples,), 0, 10)
    first, second = channels

    def loss(weights):
        hidden = images
        for filters in weights[:2]:
            hidden = jax.nn.relu(
                jax.lax.conv_general_dilated(
                    hidden, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
            )
            hidden = jax.lax.reduce_window(hidden, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
        return cross_entropy(hidden.reshape(examples, -1) @ weights[2], labels)

    shapes = [(3, 3, 1, first), (3, 3, first, second), ((size // 4) ** 2 * second, 10)]
    return gdx.problem(random_weights(shapes), loss)


def batched_network(examples, batch_size):
    """A network of two hidden layers on random data, trained in mini-batches, judged by all examples."""
    x_key, y_key = jax.random.split(jax.random.key(0))
    rows = jax.random.normal(x_key, (examples, 64)), jax.random.randint(y_key, (examples,), 0, 10)

    def on(weights, rows):
        hidden = jnp.tanh(jnp.tanh(rows[0] @ weights[0]) @ weights[1])
        return cross_entropy(hidden @ weights[2], rows[1])

    return gdx.problem(
        random_weights([(64, 64), (64, 64), (64, 10)]),
        lambda weights, batch: on(weights, batch[0]),
        batches=gdx.problems.minibatches(rows, batch_size),
        full_loss=lambda weights: on(weights, rows),
    )


def python_loop(problem, step_sizes, num_steps):
    """One run after another: a Python loop over a jitted optax step."""
    params, _ = problem.init(jax.random.key(0))

    @jax.jit
    def step(params, step_size):
        gradient = jax.grad(lambda w: problem.loss(w, (), None)[0])(params)
        family = optax.sgd(step_size)
        updates, _ = family.update(gradient, family.init(params), params)
        return optax.apply_updates(params, updates)

    def run():
        for step_size in step_sizes:
            moving = params
            for _ in range(num_steps):
                moving = step(moving, step_size)
            jax.block_until_ready(moving)

    return run


def plain_scan(problem, step_sizes, keys, num_steps, every, width):
    """Chunks of `width` runs through a vmapped scan in the same blocks, with the same evaluations of the full loss."""
    blocks = choose_blocks(num_steps, 64, spares_watching=True)
    step = gdx.train_step(problem, optax.sgd, block=blocks.coast + blocks.watch)
    update, evaluate = jax.vmap(step.update), jax.vmap(evaluation(problem))
    grid = np.repeat(np.asarray(step_sizes, np.float32), len(keys))
    keys = jnp.tile(keys, len(step_sizes))

    @jax.jit
    def chunk(step_sizes, keys):
        states = jax.vmap(step.init)(step_sizes, keys)
        first = evaluate(states)

        def coasted(states, _):
            states, view = update(states)
            return states, view.loss

        def watched(carry, row):
            states, last = carry
            last = jax.lax.cond(row % every == 0, lambda: evaluate(states), lambda: last)
            states, view = update(states)
            return (states, last), (view.loss, last)

        def block(states, _):
            states = jax.vmap(step.renew)(states)
            states, losses = jax.lax.scan(coasted, states, length=blocks.coast)
            (states, _), record = jax.lax.scan(watched, (states, first), jnp.arange(blocks.watch, dtype=jnp.int32))
            return states, (losses, record)

        return jax.lax.scan(block, states, length=blocks.number)[1], first

    return lambda: [chunk(grid[i : i + width], keys[i : i + width]) for i in range(0, len(grid), width)]


def convolutions(name, problem, num_runs, num_steps, rounds):
    """Print a row: the plain loop and gdx, seconds, the first call of each as well."""
    step_sizes, keys = np.geomspace(0.01, 0.3, num_runs), jax.random.split(jax.random.key(0), 1)
    run = gdx.sweep(problem, optax.sgd, num_steps=num_steps, stopping=gdx.Stopping.none())
    contestants = {
        "loop": python_loop(problem, jnp.asarray(step_sizes, jnp.float32), num_steps),
        "gdx": functools.partial(run, step_sizes, keys),
    }
    first = {}
    for label, contestant in contestants.items():
        started = time.perf_counter()
        contestant()
        first[label] = time.perf_counter() - started
    seconds = alternate(contestants, rounds)
    print(
        f"{name}, {num_runs} runs x {num_steps} steps: plain loop {seconds['loop']:.2f} s (first call "
        f"{first['loop']:.2f}), gdx {seconds['gdx']:.2f} s ({first['gdx']:.2f}); "
        f"{seconds['gdx'] / seconds['loop']:.2f}x (bar 1x)"
    )


def full_loss(problem, num_points, num_repeats, num_steps, rounds):
    """Print a row a contestant, seconds."""
    step_sizes = np.geomspace(0.001, 0.1, num_points)
    keys = jax.random.split(jax.random.key(0), num_repeats)
    run = gdx.sweep(problem, optax.sgd, num_steps=num_steps, stopping=gdx.Stopping.none())
    plain = {
        f"plain scan, {width} at once": plain_scan(problem, step_sizes, keys, num_steps, 8, width)
        for width in (8, num_points * num_repeats)
    }
    seconds = alternate({**plain, "gdx": functools.partial(run, step_sizes, keys)}, rounds)
    print(
        f"\nmini-batches with a full loss, {num_points} step sizes x {num_repeats} starts x {num_steps} steps, seconds"
    )
    for label, value in seconds.items():
        print(f"{label:30s}{value:8.3f}")
    print(f"gdx takes {seconds['gdx'] / min(seconds[label] for label in plain):.2f}x the best plain scan (bar 1.2x)")


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    jax.config.update("jax_disable_most_optimizations", toy)
    print(machine())
    rounds = 1 if toy else 3
    nets = {"8x8 images, 8 and 16 channels": (8, (8, 16), 256, 22, 100)}
    if toy:
        nets = {"4x4 images": (4, (2, 2), 4, 2, 8)}
    else:
        nets["28x28 images, 16 and 32 channels"] = (28, (16, 32), 64, 8, 40)
    for name, (size, channels, examples, num_runs, num_steps) in nets.items():
        convolutions(name, convolutional(size, channels, examples), num_runs, num_steps, rounds)
    full_loss(batched_network(*((32, 8) if toy else (1797, 64))), *((2, 1, 64) if toy else (16, 4, 200)), rounds)


if __name__ == "__main__":
    main()
