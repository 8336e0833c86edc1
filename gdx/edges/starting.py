"""Where to begin to look for an edge: around the threshold over the curvature of one batch at a start."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.curvature import sharpness
from gdx.exploring import Along, hyperparams_at
from gdx.responses import measure_response, step_at
from gdx.responses.preconditioners import make_reader
from gdx.responses.scalings import own_scale
from gdx.stepping import resolve_problem, transformation_of
from gdx.sweeps import Sweep

WIDE_SCAN = (1e-8, 1e4, 97)
"""Lowest and highest step size and number of points, geometric, where steps cost next to nothing.

Examples
--------
>>> import gdx
>>> lowest, highest, num_points = gdx.edges.WIDE_SCAN
>>> lowest, highest
(1e-08, 10000.0)
"""
CHEAP_BYTES = 16 << 10
"""What a step may compute for the wide scan to be made at once: most of its runs then fit into the slots together."""
LIMITS = (1e-10, 1e10)
"""Step sizes beyond which nothing is looked for."""
SPACING = math.sqrt(10.0)
"""Of neighbouring step sizes of a scan that grows."""
AROUND = (-4, 3)
"""First and last of the points around a guess, in spacings."""
COMMON = (1e-4, 10.0, 11)
"""Lowest and highest step size and number of points of the scan to grow from where nothing says where to look."""
CHEAP_RUN = 2e9
"""What a whole run may compute, bytes, for it to be quicker to make a few more than to measure curvature first: to
compile that takes seconds, in which some ten such runs are made."""
RTOL, NUM_ITERS = 0.1, 30
"""Of the curvature, which is only to tell the order of magnitude."""


def first_scan(run: Sweep, keys: Any, along: Along | None = None) -> Any:
    """Choose the step sizes that a search begins with.

    Parameters
    ----------
    run
        A sweep, checked or compiled.
    keys
        Typed random keys [R], one a start.
    along
        The axis, where it is a line through several hyperparameters.

    Returns
    -------
    array
        Ascending, [P]: 12 decades where steps cost next to nothing; few around what curvature says at the first
        start where runs are dear; otherwise, or where it says nothing, few around step sizes that are common.
    """
    step_bytes = run.step_bytes or 0
    if step_bytes <= CHEAP_BYTES:
        return np.geomspace(*WIDE_SCAN)
    guess = guessed_step(run, keys[0], along) if step_bytes * run.num_steps > CHEAP_RUN else None
    if guess is None:
        return np.geomspace(*COMMON)
    guess = min(max(guess, LIMITS[0] * SPACING ** -AROUND[0]), LIMITS[1] / SPACING ** AROUND[1])
    return guess * SPACING ** np.arange(AROUND[0], AROUND[1] + 1.0)


def guessed_step(run: Sweep, key: Any, along: Along | None = None) -> float | None:
    """Critical step size of the quadratic that the loss of the first batch looks like at a start.

    Parameters
    ----------
    run
        A sweep over step sizes.
    key
        One typed key.
    along
        As in `first_scan`; one that cannot be traced is no ground for a guess.

    Returns
    -------
    float or None
        None where the optimizer has no threshold, or the curvature there is no positive number. With a
        preconditioner it is the one after an update with that same batch.
    """
    problem = resolve_problem(run.problem, jax.tree.map(jnp.asarray, hyperparams_at(along, 1.0)))

    def family(position):
        return run.family(position if along is None else along(position))

    try:
        response = measure_response(family, jax.eval_shape(problem.init, key)[0])
        curvature = float(jax.jit(lambda key: _curvature(problem, family, response, key))(key))
        found = step_at(response, curvature) if curvature > 0 else math.nan
    except (ValueError, TypeError, ArithmeticError, NotImplementedError):
        # Whatever speaks against a guess, the search only takes longer without.
        return None
    return found if math.isfinite(found) and found > 0 else None


def _curvature(problem, family, response, key):
    """Largest eigenvalue at the start, of the first batch of this key's run."""
    params, state = problem.init(key)
    batch = None if problem.batches is None else problem.batches(jax.random.fold_in(key, 0), jnp.int32(0))

    def loss(params):
        return problem.loss(params, state, batch)[0]

    divisor = None
    if response.is_preconditioned or response.scale is not None:
        reader, transformation = make_reader(family, params, response), transformation_of(family, 1.0)
        opt_state = transformation.update(jax.grad(loss)(params), transformation.init(params), params)[1]
        divisor = reader.read(opt_state, params)
    num_iters = min(NUM_ITERS, sum(np.size(leaf) for leaf in jax.tree.leaves(params)))
    return sharpness(*own_scale(loss, params, divisor, response.decay), rtol=RTOL, num_iters=num_iters).value
