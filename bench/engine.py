"""What the slot engine costs, beside the loops that people write by hand.

Claims: on a map where half the runs blow up early, gdx takes within 1.2x of (work really done) x (best chunked cost
per lane-step with the same facts); where every lane runs to the horizon within 1.1x of that scan; facts cost under 2x
the step on a 2-parameter problem and under 1.1x on a network; a million lanes stay under 2 GB of resident memory; two
cores give 1.8x the throughput of one on the network, 1.6x on two parameters, and the rule for slots is within 10 % of
the best of 4 to 128.

Measured on 2 cores, with one worker: .52x and .68x to the horizon; .80x on the map; facts 1.60x gdx's own bare step on
2 parameters, but 4.4x a bare scan that keeps nothing at all; 1.03x on the network; .65 GiB. Two workers give 1.77x
(float32) and 1.95x (float64) the throughput of one with 4 slots on the network, 1.9x and 2.0x on two parameters with
128. By these rows the rule, which they have changed since, is within 6 % of the best.

    python bench/engine.py            # about nine minutes on 2 cores
    python bench/engine.py --toy      # seconds, figures without meaning

Typical printout: see bench/results/engine-cpu.txt.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import optax
from timing import alternate, in_fresh_process, machine, resident_gib

import gdx


def two_parameters():
    """The 2-parameter problem, from a fixed start inside the basin."""
    return gdx.problems.scalar_factorization(1.0, start=(1.1, 0.4))


def network(points=272):
    """The network of trainability maps: one hidden tanh layer of width 16 on random data."""
    x_key, y_key = jax.random.split(jax.random.key(0))
    x, y = jax.random.normal(x_key, (points, 16)), jax.random.normal(y_key, (points,))

    def init(key):
        first, second = jax.random.split(key)
        return jax.random.normal(first, (16, 16)), jax.random.normal(second, (16,))

    def loss(weights):
        hidden = jnp.tanh(jnp.sqrt(2.0) * (x @ weights[0]) / 4.0)
        return jnp.mean((hidden @ weights[1] / 16.0 - y) ** 2)

    return gdx.problem(init, loss)


def python_loop(problem, step_sizes, num_steps):
    """One run after another: a Python loop over a jitted optax step."""
    params, _ = problem.init(jax.random.key(0))

    @jax.jit
    def step(params, step_size):
        gradient = jax.grad(lambda w: problem.loss(w, (), None)[0])(params)
        updates, _ = optax.sgd(step_size).update(gradient, optax.sgd(step_size).init(params), params)
        return optax.apply_updates(params, updates)

    def run():
        for step_size in step_sizes:
            moving = params
            for _ in range(num_steps):
                moving = step(moving, step_size)
        return moving

    return run


def vmapped_scan(problem, step_sizes, num_steps, width, with_facts):
    """Chunks of `width` lanes through a vmapped scan; facts are those of a tail of 64 steps, reduced in the carry."""
    step = gdx.train_step(problem, optax.sgd)

    @jax.jit
    def chunk(step_sizes):
        states = jax.vmap(step.init, in_axes=(0, None))(step_sizes, jax.random.key(0))
        lanes = step_sizes.shape[0]

        def bare(states, _):
            states, _view = jax.vmap(step.update)(states)
            return states, None

        def watched(carry, row):
            states, best, low, high, total, rises, last, first_bad, period, reference = carry
            before = states.params
            states, view = jax.vmap(step.update)(states)
            norm = jax.vmap(optax.tree.norm)(view.gradient)
            starts = row == num_steps - 64
            reference = jax.tree.map(lambda r, b: jnp.where(starts, b, r), reference, before)
            away = jax.vmap(lambda a, b: optax.tree.norm(optax.tree.sub(a, b), ord=jnp.inf))(before, reference)
            low = jnp.where(starts, norm, jnp.minimum(low, norm))
            high = jnp.where(starts, norm, jnp.maximum(high, norm))
            total = jnp.where(starts, norm, total + norm)
            rises = jnp.where(starts, 0, rises + (view.loss > last))
            first_bad = jnp.where(jnp.isfinite(view.loss) | (first_bad >= 0), first_bad, row)
            period = jnp.where((away < 1e-9) & (period == 0) & ~starts, row, period)
            best = jnp.minimum(best, view.loss)
            return (states, best, low, high, total, rises, view.loss, first_bad, period, reference), None

        if not with_facts:
            return jax.lax.scan(bare, states, length=num_steps)[0].params
        zero, count = jnp.zeros(lanes), jnp.zeros(lanes, jnp.int32)
        carry = (states, zero + jnp.inf, zero, zero, zero, count, zero, count - 1, count, states.params)
        return jax.lax.scan(watched, carry, jnp.arange(num_steps, dtype=jnp.int32))[0][1:-1]

    def run():
        return [chunk(step_sizes[i : i + width]) for i in range(0, len(step_sizes), width)]

    return run


def compare(name, problem, step_sizes, num_steps, widths, loop_lanes, rounds):
    """Print a row a contestant: microseconds per lane-step, with and without facts."""
    keys, lanes = jax.random.split(jax.random.key(0), 1), len(step_sizes)
    plain = {
        f"vmapped scan, {'all lanes' if width >= lanes else f'chunks of {width}'}": functools.partial(
            vmapped_scan, problem, step_sizes, num_steps, width
        )
        for width in dict.fromkeys([*widths, lanes])
    }
    contestants = {(label, facts): make(facts) for label, make in plain.items() for facts in (False, True)}
    sweeps = {
        facts: gdx.sweep(problem, optax.sgd, num_steps=num_steps, stopping=gdx.Stopping.none(), facts=kept)
        for facts, kept in {False: (), True: ("gradient", "cycles")}.items()
    }
    for facts, run in sweeps.items():
        contestants["gdx", facts] = functools.partial(run, step_sizes, keys)
    seconds = alternate(contestants, rounds)
    loop = alternate({"loop": python_loop(problem, step_sizes[:loop_lanes], num_steps)}, 1)["loop"]
    print(f"\n{name}: {lanes} lanes x {num_steps} steps, all to the horizon; microseconds per lane-step")
    print(f"{'':34s}{'bare':>10s}{'with facts':>12s}")
    print(f"{'Python loop over a jitted step':34s}{loop / (loop_lanes * num_steps) * 1e6:10.4g}")
    cost = {key: value / (lanes * num_steps) * 1e6 for key, value in seconds.items()}
    for label in [*plain, "gdx"]:
        extra = f" ({sweeps[True].slots} slots)" if label == "gdx" else ""
        print(f"{label + extra:34s}{cost[label, False]:10.4g}{cost[label, True]:12.4g}")
    best = {facts: min(cost[label, facts] for label in plain) for facts in (False, True)}
    print(f"facts cost gdx {cost['gdx', True] / cost['gdx', False]:.2f}x its own bare step,")
    print(f"  {cost['gdx', True] / best[False]:.2f}x the best bare scan (bar: 2x on two parameters, 1.1x on a network)")
    print(f"to the horizon gdx takes {cost['gdx', True] / best[True]:.2f}x the best scan with facts (bar 1.1x)")
    return best[True]


def map_of_blow_ups(problem, lanes, num_steps, best, rounds):
    """A map of which half blows up early: time against the work really done at the best chunked cost."""
    step_sizes = np.concatenate([np.geomspace(0.01, 1, lanes // 2), np.geomspace(1e3, 1e9, lanes - lanes // 2)])
    keys = jax.random.split(jax.random.key(0), 1)
    run = gdx.sweep(problem, optax.sgd, num_steps=num_steps, stopping=gdx.Stopping(repeated=False))
    runs = run(step_sizes, keys)
    blown = float(np.mean(runs.first_bad_step >= 0))
    work = float(np.sum(runs.steps))
    seconds = alternate({"gdx": lambda: run(step_sizes, keys)}, rounds)["gdx"]
    share = work / (lanes * num_steps)
    print(
        f"\nmap with {blown:.2f} of {lanes} runs blowing up, {num_steps} steps: {share:.2f} of the lane-steps are work"
    )
    print(f"gdx takes {seconds:.2f} s, {seconds / (work * best * 1e-6):.2f}x (work x best chunked cost) (bar 1.2x)")


def cores(precision, toy):
    """Print, as JSON, runs a second by number of slots, with one worker and with one a core; in a fresh process."""
    jax.config.update("jax_enable_x64", precision == "float64")
    keys = jax.random.split(jax.random.key(0), 1)
    sizes = (4, 8) if toy else (4, 8, 16, 32, 64, 128)
    table = {}
    sweeps = {"2 parameters": (two_parameters(), 16_384, 5000), "network": (network(), 256, 500)}
    for name, (problem, lanes, steps) in sweeps.items():
        lanes, steps = (16, 128) if toy else (lanes, steps)
        step_sizes = np.geomspace(0.01, 0.99, lanes)
        make = functools.partial(gdx.sweep, problem, optax.sgd, num_steps=steps, stopping=gdx.Stopping.none())
        runs = {
            (slots, workers): make(slots=slots, workers=workers) for slots in (*sizes, None) for workers in (1, None)
        }
        seconds = alternate({at: functools.partial(run, step_sizes, keys) for at, run in runs.items()}, 1 if toy else 3)
        table[name] = {
            f"{slots or 'rule'}/{'one' if workers else 'all'}": lanes / seconds[slots, workers]
            for slots, workers in runs
        }
        table[name] |= {"rule": runs[None, None].slots, "workers": runs[None, None].workers}
    print(json.dumps(table))


def print_cores(precision, found):
    """Lay `cores` out, a row a number of slots."""
    for name, rates in found.items():
        sizes = [key.split("/")[0] for key in rates if key.endswith("/all")]
        print(
            f"\n{name}, {precision}: runs a second with 1 worker and with {rates['workers']} (bar: 1.8x, 1.6x on two)"
        )
        best = max(rates[f"{size}/all"] for size in sizes)
        for size in sizes:
            one, every = rates[f"{size}/one"], rates[f"{size}/all"]
            label = f"rule: {rates['rule']} slots" if size == "rule" else f"{size} slots"
            print(f"{label:20s}{one:10.4g}{every:10.4g}{every / one:8.2f}x{every / best:10.0%} of the best")


def memory(lanes):
    """Print, as JSON, the resident memory after a sweep of many lanes; run in a process of its own."""
    before = resident_gib()
    runs = gdx.sweep(two_parameters(), optax.sgd, num_steps=64)(
        np.geomspace(0.01, 3, lanes), jax.random.split(jax.random.key(0), 1)
    )
    print(f'{{"lanes": {np.size(runs.steps)}, "before": {before}, "after": {resident_gib()}}}')


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--cores", choices=("float32", "float64"))
    options = parser.parse_args()
    if options.memory:
        memory(options.memory)
        return
    toy = options.toy
    if options.cores:
        cores(options.cores, toy)
        return
    # A toy compiles for a minute to run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", toy)
    print(machine())
    small = {"lanes": 8, "steps": 128, "rounds": 1, "widths": (4,)} if toy else None
    light = small or {"lanes": 8192, "steps": 5000, "rounds": 3, "widths": (256, 1024)}
    heavy = small or {"lanes": 256, "steps": 500, "rounds": 3, "widths": (8, 16, 32, 64)}
    grid = np.linspace(0.3, 0.99, light["lanes"])
    compare("2 parameters", two_parameters(), grid, light["steps"], light["widths"], 2, light["rounds"])
    net, grid = network(), np.geomspace(0.01, 1, heavy["lanes"])
    best = compare("network, 272 points", net, grid, heavy["steps"], heavy["widths"], 2, heavy["rounds"])
    map_of_blow_ups(net, heavy["lanes"] * 2, heavy["steps"], best, heavy["rounds"])
    for precision in ("float32", "float64"):
        command = [sys.executable, __file__, "--cores", precision] + ["--toy"] * toy
        print_cores(precision, in_fresh_process(command))
    lanes = 1000 if toy else 1_000_000
    used = in_fresh_process([sys.executable, __file__, "--memory", str(lanes)])
    print(f"\n{lanes} lanes: {used['after']:.2f} GiB resident at most, {used['before']:.2f} before (bar 2 GB)")


if __name__ == "__main__":
    main()
