"""Where to begin to look for an edge: around the threshold over the curvature of one batch at a start."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.curvature import measure_response, sharpness, step_at
from gdx.curvature.preconditioners import make_reader
from gdx.stepping import resolve_problem, transformation_of
from gdx.sweeps import Sweep

WIDE_SCAN = (1e-8, 1e4, 97)
"""Lowest and highest step size and number of points, geometric, where steps cost next to nothing."""
CHEAP_BYTES = 16 << 10
"""What a step may compute for the wide scan to be made at once: most of its runs then fit into the slots together."""
LIMITS = (1e-10, 1e10)
"""Step sizes beyond which nothing is looked for."""
SPACING = math.sqrt(10.0)
"""Of neighbouring step sizes of a scan that grows."""
AROUND = (-4, 3)
"""First and last of the points around a guess, in spacings."""
NO_GUESS = (1e-4, 10.0, 11)
"""First scan where nothing says where to look, to grow from."""
RTOL, NUM_ITERS = 0.1, 30
"""Of the curvature, which is only to tell the order of magnitude."""


def first_scan(run: Sweep, keys: Any) -> Any:
    """Choose the step sizes that a search begins with.

    Parameters
    ----------
    run
        A sweep, checked or compiled.
    keys
        Typed random keys [R], one a start.

    Returns
    -------
    array
        Ascending, [P]: 12 decades where steps cost next to nothing; else few, around what the curvature of one
        batch at the first start says, or around step sizes that are common.
    """
    if run.step_bytes is not None and run.step_bytes <= CHEAP_BYTES:
        return np.geomspace(*WIDE_SCAN)
    guess = guessed_step(run, keys[0])
    if guess is None:
        return np.geomspace(*NO_GUESS)
    guess = min(max(guess, LIMITS[0] * SPACING ** -AROUND[0]), LIMITS[1] / SPACING ** AROUND[1])
    return guess * SPACING ** np.arange(AROUND[0], AROUND[1] + 1.0)


def guessed_step(run: Sweep, key: Any) -> float | None:
    """Critical step size of the quadratic that the loss of the first batch looks like at a start.

    Parameters
    ----------
    run
        A sweep over step sizes.
    key
        One typed key.

    Returns
    -------
    float or None
        None where the optimizer has no threshold, or the curvature there is no positive number. With a
        preconditioner it is the one after an update with that same batch.
    """
    problem = resolve_problem(run.problem, jnp.asarray(1.0))
    # The key of the batches is the one that a run derives.
    batch = None if problem.batches is None else problem.batches(jax.random.fold_in(key, 0), jnp.int32(0))
    params, state = problem.init(key)

    def loss(params):
        return problem.loss(params, state, batch)[0]

    try:
        reader = make_reader(run.family, params, measure_response(run.family))
        curvature = jax.jit(lambda params: _curvature(loss, run.family, reader, params))(params)
        found = step_at(reader.response, float(curvature)) if float(curvature) > 0 else math.nan
    except (ValueError, TypeError, ArithmeticError):
        # Whatever speaks against a guess, the search only takes longer without.
        return None
    return found if math.isfinite(found) and found > 0 else None


def _curvature(loss, family, reader, params):
    divisor = None
    if reader.response.is_preconditioned:
        transformation = transformation_of(family, 1.0)
        opt_state = transformation.update(jax.grad(loss)(params), transformation.init(params), params)[1]
        divisor = reader.read(opt_state, params)
    return sharpness(loss, params, rtol=RTOL, num_iters=_iterations(params), preconditioner=divisor).value


def _iterations(params):
    return min(NUM_ITERS, sum(np.size(leaf) for leaf in jax.tree.leaves(params)))
