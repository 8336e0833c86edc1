"""Sweeping step sizes with gdx, and with the loops that people write.

Claims: 64 step sizes x 8 seeds of a network on digits, in batches, take gdx no longer than the fastest of the loops
below; on a two-layer linear network, whose runs come to rest or blow up early, gdx is at least 10 times faster. Both
hold against loops that make one run after another (the network 10 to 26 times; the linear one 42 times for Optuna, 163
for PyTorch) but for the jitted one on the linear network, 6.5 times. Neither holds against one vmapped scan of all 512
runs: that is 1.5 times as fast as gdx on the network, where no run is retired, and 3.3 times slower on the linear one.

All train the same parameters on the same batches in float32 and tell every run's late loss; they must agree on the
step sizes up to which all seeds train. "one by one" is a jitted scan over optax, called for every run; "all at once"
the same under vmap, a lane for every run; Optuna asks its grid sampler which run is next and calls the first; PyTorch
is a loop in Python as its tutorials write it. Of the linear network PyTorch makes every 16th run and its time is
multiplied, since it would take many minutes. gdx makes fewer steps: a run that has blown up, or come to rest, makes
room for the next.

    python bench/loops.py        # a few minutes; peers that are not installed say so
    python bench/loops.py --toy  # seconds, figures without meaning

Typical printout: see bench/results/loops-cpu.txt.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import machine

import gdx
from gdx.problems import minibatches
from gdx.problems.data import bundled, scale_features
from gdx.stepping.keys import batch_key

SEEDS, BATCH, LATE = 8, 64, 10
FASTER = {"network": 1.0, "linear network": 10.0}
SHARE_OF_TORCH = {"network": 1, "linear network": 16}


class Job(NamedTuple):
    """What all contestants train."""

    problem: gdx.Problem
    step_sizes: np.ndarray
    keys: jax.Array
    num_steps: int
    torch_loss: Callable[[Any, Any, Any], Any]
    """`(torch, params, batch) -> loss`."""
    momentum: float


def network(num_sizes, num_steps):
    """Digits through a tanh layer of 32, in batches, under heavy ball."""
    features, labels = bundled("digits")
    inputs = np.asarray(scale_features(features, "standard", constant="zero"), np.float32)
    draw = minibatches((jnp.asarray(inputs), jnp.asarray(labels, jnp.int32)), BATCH)

    def init(key):
        first, second = jax.random.split(key)
        weights = jax.random.normal(first, (64, 32)) / 8, jax.random.normal(second, (32, 10)) / math.sqrt(32)
        return {"v": weights[0], "b": jnp.zeros(32), "w": weights[1], "c": jnp.zeros(10)}

    def loss(params, batch):
        (x, y), weights = batch
        logits = jnp.tanh(x @ params["v"] + params["b"][None]) @ params["w"] + params["c"][None]
        return jnp.sum(weights * optax.softmax_cross_entropy_with_integer_labels(logits, y))

    def torch_loss(torch, params, batch):
        (x, y), weights = batch
        logits = torch.tanh(x @ params["v"] + params["b"]) @ params["w"] + params["c"]
        return torch.sum(weights * torch.nn.functional.cross_entropy(logits, y.long(), reduction="none"))

    sizes = np.geomspace(1e-3, 1e2, num_sizes)
    return Job(gdx.problem(init, loss, batches=draw), sizes, _keys(), num_steps, torch_loss, 0.9)


def linear_network(num_sizes, num_steps):
    """Two matrices of 4 x 4 towards a diagonal teacher, gradient descent on all of the loss."""
    teacher = np.diag(np.float32([2.0, 1.5, 1.0, 0.5]))

    def init(key):
        first, second = jax.random.split(key)
        return {"v": 0.1 * jax.random.normal(first, (4, 4)), "w": 0.1 * jax.random.normal(second, (4, 4))}

    def loss(params):
        return 0.5 * jnp.sum((params["w"] @ params["v"] - teacher) ** 2)

    def torch_loss(torch, params, batch):
        return 0.5 * torch.sum((params["w"] @ params["v"] - torch.from_numpy(teacher)) ** 2)

    return Job(gdx.problem(init, loss), np.geomspace(1e-2, 1e1, num_sizes), _keys(), num_steps, torch_loss, 0.0)


def _keys():
    return jax.random.split(jax.random.key(0), SEEDS)


# Contestants: a call gives late losses [S, R], infinite where they are no numbers, NaN where a run was not made.


def with_gdx(job):
    """A sweep; the number of its steps is kept."""
    made = {}
    run = gdx.sweep(job.problem, family(job), num_steps=job.num_steps)

    def contestant():
        runs = run(job.step_sizes, job.keys, progress=False)
        made["steps"] = int(np.sum(runs.steps))
        return _told(np.asarray(runs.late_loss))

    return contestant, made


def training(job):
    """One run as a scan over optax."""
    make, draw = family(job), job.problem.batches

    def train(step_size, key):
        params, _ = job.problem.init(key)

        def step(carry, count):
            params, opt_state = carry
            batch = None if draw is None else draw(batch_key(key), count)
            loss, gradient = jax.value_and_grad(lambda params: job.problem.loss(params, (), batch)[0])(params)
            updates, opt_state = make(step_size).update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        start = params, make(step_size).init(params)
        return jax.lax.scan(step, start, jnp.arange(job.num_steps))[1][-_late(job) :].mean()

    return train


def one_by_one(job):
    """A call a run."""
    train = jax.jit(training(job))
    return lambda: _told(np.array([[float(train(size, key)) for key in job.keys] for size in job.step_sizes]))


def all_at_once(job):
    """A lane a run."""
    train = jax.jit(jax.vmap(jax.vmap(training(job), (None, 0)), (0, None)))
    return lambda: _told(np.asarray(train(jnp.asarray(job.step_sizes), job.keys)))


def with_optuna(job):
    """A trial a run, on Optuna's grid, which knows step sizes and seeds by number."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    train = jax.jit(training(job))
    grid = {"size": list(range(len(job.step_sizes))), "seed": list(range(SEEDS))}

    def contestant():
        losses = np.full((len(job.step_sizes), SEEDS), np.nan)

        def objective(trial):
            i = trial.suggest_int("size", 0, len(job.step_sizes) - 1)
            r = trial.suggest_int("seed", 0, SEEDS - 1)
            losses[i, r] = _told(float(train(job.step_sizes[i], job.keys[r])))
            return losses[i, r]

        study = optuna.create_study(sampler=optuna.samplers.GridSampler(grid, seed=0))
        study.optimize(objective, n_trials=losses.size)
        return losses

    return contestant


def with_torch(job, share):
    """Eager PyTorch, every `share`-th run; batches are drawn beforehand, outside of what is timed."""
    import torch

    starts = [jax.tree.map(np.asarray, job.problem.init(key)[0]) for key in job.keys]
    batches = [_batches(torch, job, key) for key in job.keys]

    def train(step_size, r):
        params = {name: torch.tensor(leaf, requires_grad=True) for name, leaf in starts[r].items()}
        optimizer = torch.optim.SGD(params.values(), lr=float(step_size), momentum=job.momentum)
        late = []
        for count in range(job.num_steps):
            optimizer.zero_grad()
            loss = job.torch_loss(torch, params, batches[r][count] if batches[r] else None)
            loss.backward()
            optimizer.step()
            if count >= job.num_steps - _late(job):
                late.append(loss.detach())
        return float(torch.stack(late).mean())

    def contestant():
        losses = np.full((len(job.step_sizes), SEEDS), np.nan)
        for place in range(0, losses.size, share):
            # Neighbours of one another in neither, so that a share is as mixed as the whole.
            i, r = divmod(place, SEEDS)
            r = (r + i) % SEEDS
            losses[i, r] = _told(train(job.step_sizes[i], r))
        return losses

    return contestant


def _batches(torch, job, key):
    if job.problem.batches is None:
        return []
    steps = jnp.arange(job.num_steps)
    drawn = jax.vmap(job.problem.batches, (None, 0))(batch_key(key), steps)
    whole = jax.tree.map(lambda leaf: torch.from_numpy(np.array(leaf)), drawn)
    leaves, treedef = jax.tree.flatten(whole)
    return [jax.tree.unflatten(treedef, [leaf[count] for leaf in leaves]) for count in range(job.num_steps)]


def _told(losses):
    """What was no longer a number is infinite; NaN is left for runs that nobody made."""
    return np.where(np.isfinite(losses), losses, np.inf)


def _late(job):
    return max(job.num_steps // LATE, 1)


def family(job):
    """The optimizer of a job."""
    return lambda step_size: optax.sgd(step_size, momentum=job.momentum or None)


def largest(job, losses):
    """Step size from the best one up to which all runs train that were made: nearer to the best than to the start."""
    starts = [job.problem.init(key)[0] for key in job.keys]
    first = None if job.problem.batches is None else job.problem.batches(job.keys[0], 0)
    idle = np.median([float(job.problem.loss(params, (), first)[0]) for params in starts])
    # Of a row that nobody made nothing is known.
    made = ~np.all(np.isnan(losses), axis=1)
    step_sizes, losses = job.step_sizes[made], np.where(np.isposinf(losses), 1e30, losses)[made]
    worst = np.nanmax(losses, axis=1)
    trains = worst < 0.5 * (idle + worst.min())
    best = int(np.argmin(worst))
    fails = np.flatnonzero(~trains[best:])
    return float(step_sizes[best + fails[0] - 1]) if fails.size else math.inf


def tell(name, job, rounds):
    """Run all contestants of a job in turns, and print their rows; whether gdx is within the bar."""
    ours, made = with_gdx(job)
    share = SHARE_OF_TORCH[name]
    makes = {
        "jitted optax loop, one by one": lambda: one_by_one(job),
        "jitted optax loop, all at once": lambda: all_at_once(job),
        "Optuna's grid, jitted optax loop": lambda: with_optuna(job),
        "PyTorch loop": lambda: with_torch(job, share),
    }
    contestants, missing = {"gdx": ours}, []
    for title, make in makes.items():
        try:
            contestants[title] = make()
        except ImportError as error:
            missing.append(f"{title:34s}{error.name} is not installed: pip install '.[bench]'")
    first, best, edges = {}, {}, {}
    for again in range(1 + rounds):
        for title, contestant in contestants.items():
            started = time.perf_counter()
            losses = np.asarray(contestant(), float)
            seconds = (time.perf_counter() - started) * (share if "PyTorch" in title else 1)
            if not again:
                edges[title] = largest(job, losses)
                first[title] = seconds
            else:
                best[title] = min(best.get(title, math.inf), seconds)
    steps = len(job.step_sizes) * SEEDS * job.num_steps
    print(f"{name}: {len(job.step_sizes)} step sizes x {SEEDS} seeds x {job.num_steps} steps")
    print(f"{'':34s}{'first call, s':>14s}{'later, s':>10s}{'/ gdx':>8s}{'steps made':>12s}  all seeds train up to")
    for title in contestants:
        share_made = made["steps"] / steps if title == "gdx" else 1.0
        row = f"{title:34s}{first[title]:14.2f}{best[title]:10.3f}{best[title] / best['gdx']:8.2f}{share_made:12.0%}"
        print(f"{row}  {edges[title]:.4g}")
    print("\n".join(missing))
    fastest = min(seconds for title, seconds in best.items() if title != "gdx")
    apart = max(edges.values()) / min(edges.values())
    agree = apart <= (job.step_sizes[1] / job.step_sizes[0]) * (1 + 1e-9)
    is_met = fastest / best["gdx"] >= FASTER[name] and agree
    print(f"gdx is {fastest / best['gdx']:.2f}x as fast as the fastest loop, bar {FASTER[name]:g}x: {_said(is_met)}")
    print(f"edges within a point of the grid of one another: {_said(agree)}\n", flush=True)
    return is_met


def _said(is_met):
    return "met" if is_met else "MISSED"


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    print(machine() + "; float32\n")
    num_sizes, rounds = (4, 1) if options.toy else (64, 3)
    jobs = {
        "network": network(num_sizes, 10 if options.toy else 200),
        "linear network": linear_network(num_sizes, 20 if options.toy else 2_000),
    }
    for name, job in jobs.items():
        tell(name, job, rounds)


if __name__ == "__main__":
    main()
