"""Gradient evaluations that a critical step size costs, to three accuracies.

Claim (the bar): where a minimum loses its stability, an estimate without the shift of the horizon reaches 1e-7 for
fewer gradients than a plain bisection of single runs, or a fixed grid, needs for 1e-3. On a hard edge, where a run
decides quickly, it is not so: there bisection is the cheaper one.

Measured on 2 cores: gdx 1.4e5 gradients on a quadratic and 2.7e5 on a factorization, to 1e-7 and beyond; bisection
1.4e7 and more than 5e7 to 1e-3, the grid 1.2e6 and 2.5e7, neither of them 1e-7 within 5e7. On the hard edge gdx 2.8e5,
bisection 1.4e4.

Contestants, all from the same interval of a factor 4.5 about the edge, from one start, judged by a gradient norm of
1e-6 of the first: gdx (`critical_step_size` with 1,000 steps: its scan, its refinement and its estimate, each run
counted in full), a plain bisection of single runs whose horizon grows fourfold each time the interval is as fine as the
horizon can tell, and a fixed grid whose points and horizon grow fourfold. The latter two stop each run as soon as it
is decided, and are stopped themselves, as nobody without the truth could, as soon as they are right to the accuracy.

    python bench/edge_accuracy.py            # about a minute on 2 cores
    python bench/edge_accuracy.py --toy      # seconds, figures without meaning

Typical printout: see bench/results/edge-accuracy-cpu.txt.
"""

from __future__ import annotations

import argparse
import math

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import optax
from timing import machine

import gdx

ACCURACIES = (1e-3, 1e-5, 1e-7)
TOLERANCE = 1e-6
LOW, HIGH = 0.4671, 2.1013
"""Ends of the interval, over the edge: no bisection or grid through them hits it."""
MAX_POINTS = 1024
"""Of the finest grid, 1.6e-3 apart: for 1e-5 it would take a hundred times as many, each of millions of steps."""
PROBLEMS = {
    "quadratic": (gdx.problems.quadratic((1.0, 3.0, 10.0), start=(1.0, 1.0, 1.0)), 0.2),
    "soft, (xy - 1)^2 / 2": (gdx.problems.scalar_factorization(1.0, start=(1.2, 0.3)), 1.0),
    "hard partner from .7": (gdx.problems.hard_partner(0.7), 2 / 1.49),
}


def single_runs(problem):
    """Plain gradient descent as anybody would write it: `run(step_sizes, num_steps) -> (converged, steps taken)`."""
    params, state = problem.init(jax.random.key(0))
    gradient = jax.grad(lambda w: problem.loss(w, state, None)[0])

    @jax.jit
    def run(step_sizes, num_steps):
        def one(step_size):
            first = optax.tree.norm(gradient(params))

            def goes_on(carry):
                _, norm, steps = carry
                return (steps < num_steps) & (norm > TOLERANCE * first) & jnp.isfinite(norm)

            def step(carry):
                w, _, steps = carry
                slope = gradient(w)
                moved = jax.tree.map(lambda p, g: p - step_size * g, w, slope)
                return moved, optax.tree.norm(slope), steps + 1

            _, norm, steps = jax.lax.while_loop(goes_on, step, (params, first, jnp.zeros((), jnp.int64)))
            return norm <= TOLERANCE * first, steps

        return jax.vmap(one)(step_sizes)

    return run


def with_gdx(problem, edge, horizon):
    """Error, bar and gradients, which no accuracy changes."""
    found = gdx.critical_step_size(
        problem,
        optax.sgd,
        keys=jax.random.split(jax.random.key(0), 1),
        num_steps=horizon,
        tolerance=TOLERANCE,
        bracket=(LOW * edge, HIGH * edge),
        rtol=0.05,
    )
    spent = found.step_sizes.size * horizon + found.estimate.num_gradients
    return abs(found.estimate.value / edge - 1), found.estimate.error / edge, spent


def with_bisection(run, edge, budget):
    """Yield (error, gradients spent so far)."""
    spent, horizon, lower = 0, 1000, LOW * edge
    while True:
        upper = HIGH * edge
        while upper - lower > lower / horizon:
            middle = 0.5 * (lower + upper)
            converged, steps = run(jnp.asarray([middle]), min(horizon, budget - spent))
            spent += int(steps[0])
            if spent >= budget:
                return
            lower, upper = (middle, upper) if converged[0] else (lower, middle)
            yield abs(0.5 * (lower + upper) / edge - 1), spent
        horizon *= 4


def with_grid(run, edge, budget):
    """Yield (error, gradients spent so far); each grid is begun anew."""
    spent, points, horizon = 0, 16, 1000
    while points <= MAX_POINTS:
        grid = np.linspace(LOW * edge, HIGH * edge, points)
        converged, steps = run(jnp.asarray(grid), horizon)
        spent += int(jnp.sum(steps))
        if spent > budget:
            return
        last = int(np.flatnonzero(np.asarray(converged))[-1]) if np.any(converged) else 0
        yield abs(0.5 * (grid[last] + grid[min(last + 1, points - 1)]) / edge - 1), spent
        points, horizon = 4 * points, 4 * horizon


def first_within(progress, accuracy):
    """Gradients at which an error first falls to the accuracy and stays there to the end."""
    reached = math.inf
    for error, spent in progress:
        reached = min(reached, spent) if error <= accuracy else math.inf
    return reached


def cell(spent, budget):
    return f"{spent:.2e}" if math.isfinite(spent) else f"not in {budget:.0e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    budget, horizon = (20_000, 300) if toy else (50_000_000, 1000)
    print(machine())
    print("bar: 1e-7 for fewer gradients than bisection or a grid needs for 1e-3, where a minimum loses its stability")
    print(f"gradients to a relative error of {', '.join(f'{a:g}' for a in ACCURACIES)}; gdx with T = {horizon}")
    for name, (problem, edge) in list(PROBLEMS.items())[: 1 if toy else None]:
        run = single_runs(problem)
        error, bar, spent = with_gdx(problem, edge, horizon)
        rows = {"gdx": [(error, spent)]}
        rows["bisection"] = list(with_bisection(run, edge, budget))
        rows["grid"] = list(with_grid(run, edge, budget))
        print(f"\n{name}: gdx is off by {error:.1e}, its error bar is {bar:.1e}")
        for contestant, progress in rows.items():
            cells = [cell(first_within(progress, accuracy), budget) for accuracy in ACCURACIES]
            print(f"  {contestant:10s}" + "".join(f"{text:>16s}" for text in cells))


if __name__ == "__main__":
    main()
