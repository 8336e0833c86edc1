"""Where runs came to rest: at a minimum, or at a saddle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx import trees
from gdx.curvature import EigenStatus, sharpness
from gdx.problems.base import Problem
from gdx.records import record
from gdx.stepping import Family, train_step
from gdx.studies.beyond import beyond
from gdx.studies.minima import judged_loss
from gdx.sweeps import Runs
from gdx.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float

MAX_PLACES = 4
"""Places that are looked at, those where most runs came to rest."""
APART = 1e-4
"""Difference between losses, as a share of what the runs fell, from which they are two places."""
SIGN = 1e-6
"""Share of the largest curvature below which the smallest one is told from 0 by no one."""
NUM_PRODUCTS = 200
"""Hessian products that may be spent on each end of a spectrum."""
LATE = 10
"""The last one of so many parts of a run says whether it has trained."""


@record
class Look(NamedTuple):
    """What the Hessian says of a place.

    Examples
    --------
    Continues the example of `gdx.studies.transition`.

    >>> look = found.places[0].look
    >>> round(look.smallest, 3), round(look.largest, 3)
    (1.0, 10.0)
    """

    smallest: float
    """Eigenvalue; NaN where parameters or second derivatives are not finite."""
    largest: float
    """Eigenvalue; NaN as the smallest."""
    status: EigenStatus
    """Of both, the worse one."""

    @property
    def kind(self) -> str:
        """What to call the place: a minimum, a saddle, or why neither can be said."""
        if not (math.isfinite(self.smallest) and math.isfinite(self.largest)):
            return "without second derivatives there"
        # A smallest eigenvalue that has not converged may be any smaller one.
        if self.smallest < -self._rounding:
            return "a saddle"
        if self.status is not EigenStatus.CONVERGED:
            return f"of which {NUM_PRODUCTS} Hessian products do not tell whether it is a minimum"
        return "a minimum" if self.smallest > self._rounding else "flat to second order in some direction"

    @property
    def is_stable(self) -> bool:
        """Whether there is curvature, and none of it negative."""
        return self.largest > self._rounding and self.smallest >= -self._rounding

    @property
    def _rounding(self):
        return SIGN * max(abs(self.largest), abs(self.smallest))


@record
class Place(NamedTuple):
    """Where runs came to rest; those that ended at one loss are taken together.

    Examples
    --------
    Continues the example of `gdx.studies.transition`.

    >>> place = found.places[0]
    >>> place.number, place.loss < 1e-9
    (79, True)
    """

    loss: float
    """Last one of the run that was looked at."""
    number: int
    """Of runs."""
    step_size: float
    """The largest of theirs: of the run that was looked at."""
    repeat: int
    """Index of its key."""
    look: Look | None
    """None where the run, made again, ended elsewhere."""
    beyond: str = ""
    """What runs do just beyond its edge, of the place that the largest step size rests at, see `gdx.flip`."""


def places_of_rest(
    problem: Problem, family: Family, keys: chex.PRNGKey, step_sizes: Any, runs: Runs, num_steps: int
) -> tuple[Place, ...]:
    """Tell where runs came to rest: at which losses, and whether curvature is positive there.

    Parameters
    ----------
    problem, family, keys, num_steps
        As in the sweep that made the runs.
    step_sizes
        [S].
    runs
        Facts, leaves [S, R].

    Returns
    -------
    tuple of Place
        At most four, those where most runs ended, ascending in loss. Empty with batches, and where no run came to
        rest. Of each the run at the largest step size is made again, side by side.

    Examples
    --------
    Continues the example of `gdx.studies.transition`.

    >>> at = found.edge.step_sizes
    >>> places = gdx.studies.places_of_rest(problem, optax.sgd, keys, at, found.edge.runs, 500)
    >>> len(places), places[0].loss < 1e-9
    (1, True)
    """
    if problem.batches is not None:
        return ()
    levels = _levels(runs)
    chosen = sorted(sorted(levels, key=len, reverse=True)[:MAX_PLACES], key=lambda level: runs.last_loss[level[-1]])
    if not chosen:
        return ()
    ends = [max(level, key=lambda at: (step_sizes[at[0]], -at[1])) for level in chosen]
    rows, columns = (np.array(part) for part in zip(*ends, strict=True))
    states = ends_of_runs(problem, family, np.asarray(step_sizes)[rows], keys[columns], num_steps)
    scale = _scale(runs)
    places = []
    for i, (at, level) in enumerate(zip(ends, chosen, strict=True)):
        params, model_state = trees.rows((states.params, states.model_state), i)
        loss, was = judged_loss(problem, model_state), float(runs.last_loss[at])
        look = look_at(loss, params) if abs(float(loss(params)) - was) <= APART * scale else None
        is_last = at[0] == max(rows) and look is not None and look.is_stable
        told = beyond(loss, params, family) if is_last else ""
        places.append(Place(was, len(level), float(step_sizes[at[0]]), int(at[1]), look, told))
    return tuple(places)


def _scale(runs):
    """How far runs fell, at most."""
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.asarray(runs.first_loss, float) - np.asarray(runs.best_loss, float)))


def _levels(runs):
    """Indices of runs at rest, those of one loss together."""
    losses, codes = np.asarray(runs.last_loss, float), np.asarray(verdicts(runs))
    with np.errstate(invalid="ignore"):
        is_small = runs.tail_gradient_norm_max <= runs.tolerance * runs.first_gradient_norm
    # What creeps towards a saddle is no success, and has come to rest all the same.
    resting = (codes == Verdict.CONVERGED) | ((codes == Verdict.STRANDED) & np.asarray(is_small))
    resting &= np.isfinite(losses)
    indices = sorted(zip(*(part.tolist() for part in np.nonzero(resting)), strict=True), key=lambda at: losses[at])
    levels: list[list[tuple[int, int]]] = []
    for at in indices:
        if levels and losses[at] - losses[levels[-1][-1]] <= APART * _scale(runs):
            levels[-1].append(at)
        else:
            levels.append([at])
    return levels


def ends_of_runs(problem: Problem, family: Family, step_sizes: Any, keys: chex.PRNGKey, num_steps: int) -> Any:
    """Make runs again, to have what they end with.

    Parameters
    ----------
    problem, family
        As in a sweep.
    step_sizes, keys
        [P], one of each a run.
    num_steps
        The horizon.

    Returns
    -------
    TrainState
        Leaves [P, ...].
    """
    run = jax.jit(jax.vmap(run_of(problem, family), in_axes=(0, 0, None)))
    return run(jnp.asarray(step_sizes, jnp.result_type(float)), keys, num_steps)[0]


def run_of(problem: Problem, family: Family) -> Callable[[Any, chex.PRNGKey, Any], tuple[Any, jax.Array]]:
    """Make the function that makes one run, for what it ends with.

    Parameters
    ----------
    problem, family
        As in a sweep.

    Returns
    -------
    callable
        `(step size, key, number of steps) -> TrainState, mean training loss of the last tenth`; all may be traced.
    """
    step = train_step(problem, family)

    def run(step_size, key, num_steps):
        length = jnp.maximum(num_steps // LATE, 1)

        def move(count, carry):
            state, total = carry
            state, view = step.update(state)
            return state, total + jnp.where(count >= num_steps - length, view.loss, 0).astype(total.dtype)

        start = step.init(step_size, key), jnp.zeros((), jnp.result_type(float))
        state, total = jax.lax.fori_loop(0, num_steps, move, start)
        return state, total / length

    return run


def look_at(loss: Any, params: chex.ArrayTree) -> Look:
    """Find the smallest and the largest Hessian eigenvalue at one place.

    Parameters
    ----------
    loss
        Of the parameters.
    params
        The place.

    Returns
    -------
    Look
    """
    num_iters = min(NUM_PRODUCTS, sum(leaf.size for leaf in jax.tree.leaves(params)))

    @jax.jit
    def both(params):
        ends = [
            sharpness(loss, params, which=which, rtol=1e-4, num_iters=num_iters) for which in ("smallest", "largest")
        ]
        return [end.value for end in ends], [end.status for end in ends]

    try:
        values, statuses = both(params)
    except ValueError:
        # A loss that cannot be differentiated twice has runs and edges all the same.
        return Look(math.nan, math.nan, EigenStatus.NONFINITE)
    return Look(float(values[0]), float(values[1]), EigenStatus(max(int(status) for status in statuses)))


def curvature_at_rest(problem: Problem, params: chex.ArrayTree, *, rtol: float = 1e-4) -> Float[np.ndarray, "S R"]:
    """Find the smallest Hessian eigenvalue at the place where every run ended.

    A run that has converged at a negative one has come to rest at a saddle. About 0, next to the largest eigenvalue,
    says that the place is flat to second order: a valley of minima, or a saddle such as 0 is of a chain of three
    factors or more, which only the loss tells apart (`runs.last_loss` against the known minimum).

    Parameters
    ----------
    problem
        A Problem without mutable state, and without batches or with a full loss.
    params
        Where runs ended, leaves [S, R, ...]: what `gdx.observers.last_params` puts into `Runs.observed`.
    rtol
        As in `gdx.sharpness`.

    Returns
    -------
    array
        [S, R]; NaN where parameters or second derivatives are not finite.

    Raises
    ------
    ValueError
        If the problem has mutable state, or batches without a full loss.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> double_well = gdx.problems.double_well()
    >>> ends = jnp.array([[[0.0, 0.0], [1.0, 0.0]]])  # [S, R, D]: a saddle and a minimum
    >>> gdx.studies.curvature_at_rest(double_well, ends).round(6)
    array([[-1.,  1.]])
    """
    _, state = jax.eval_shape(problem.init, jax.random.key(0))
    if jax.tree.leaves(state):
        raise ValueError("problem: its model has mutable state, which runs do not keep; pass one without")
    if problem.batches is not None and problem.full_loss is None:
        raise ValueError("problem: its loss is that of a batch; give it a full_loss")
    loss = judged_loss(problem, state)

    def smallest(params: Any) -> jax.Array:
        return sharpness(loss, params, which="smallest", rtol=rtol).value

    shape = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: jnp.reshape(jnp.asarray(leaf), (-1, *leaf.shape[2:])), params)
    return np.asarray(jax.jit(lambda flat: jax.lax.map(smallest, flat))(flat)).reshape(shape)
