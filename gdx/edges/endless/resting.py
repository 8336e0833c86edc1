"""Where a run comes to rest, and the step size at which that place loses its stability.

The second road to an edge: no run beyond it is looked at, only the linearised step at one place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.curvature import sharpness
from gdx.edges.endless.estimates import Found, nothing
from gdx.edges.endless.linearising import Linearised, come_to_rest, growth_rate
from gdx.edges.endless.probing import Probe
from gdx.edges.endless.steps import is_affine
from gdx.problems import problem
from gdx.stepping import TrainState, resolve_problem

if TYPE_CHECKING:
    import chex

DENSE_SIZE = 400
"""Up to this many numbers of parameters and memory the linearised step is a dense matrix."""
FLAT = 1e-8
"""Distance from 1 of a multiplier that belongs to a flat direction: a valley of minima, or a conserved quantity."""
FURTHEST = 1e-2
"""Largest distance, relative to that travelled by the run, from where it ended to where it would come to rest."""
SCAN = np.geomspace(0.5, 4.0, 25)
"""Multiples of the last success at which the largest multiplier is looked at."""
FLOOR = 16
"""Units of rounding, of the narrowest leaf, in the smallest bar."""
UNSEEN = 1e-12
"""Share of a mode, relative to the run's scale, that may be rounding."""
NUDGE = 1e-4
"""Relative step of the slope's difference."""
CURVATURE_RTOL = 1e-10
"""Residual wanted of the largest curvature where no dense matrix is made."""
MAX_PRODUCTS, POLISHES, POLISHED = 1000, 3, 1e-4
"""Hessian products of a Newton step, Newton steps, and how much smaller they must leave the gradient."""
SAME_PLACE = 1e-9
"""Largest relative difference between curvatures of what counts as one minimum."""
ELSEWHERE = 0.8
"""Share of a run's step size at which another one must come to the same minimum, if that stands alone."""


class LocalEdge(NamedTuple):
    """The step size at which a place of rest loses its stability."""

    found: Found
    """That step size, or why there is none."""
    slope: float = math.nan
    """Change of the logarithm of the largest multiplier per relative change of the step size, at the edge."""
    num_flat: int = 0
    """Flat directions, along which other minima lie next to this one."""
    drift: float = 0.0
    """Growth per step of the critical mode of the start itself at that step size, where only what is not linear can
    make it grow (the edge of the start lies lower: a hard one) or shrink (a soft one)."""


def local_edge(probe: Probe, start: TrainState, end: TrainState, step_size: float) -> LocalEdge:
    """Find the step size at which the place where a run came to rest loses its stability.

    Parameters
    ----------
    probe
        Of the problem and family.
    start, end
        States of the run before its first and after its last step.
    step_size
        The run's own.

    Returns
    -------
    LocalEdge
        The place is polished by Newton's method on the step itself, so that its error is that of rounding. With more
        than `DENSE_SIZE` numbers it is polished on the loss, by Hessian products.
    """
    linearised = Linearised(probe, start, end)
    if linearised.size == 0:
        return _nowhere("no parameter moves")
    if linearised.size > DENSE_SIZE:
        return _curvature_edge(probe, start, end, step_size)
    travelled = np.linalg.norm(linearised.vector(end) - linearised.vector(start))
    rest = come_to_rest(linearised, linearised.vector(end), step_size)
    if rest is None or not rest.moved <= FURTHEST * travelled:
        return _nowhere("the run below the edge has not come to rest")
    local = _edge_of_place(linearised, rest, step_size)
    if not local.found.is_number or local.num_flat:
        return local
    return local._replace(drift=_drift(linearised, start, local, probe.num_steps))


def minimum_of_affine(probe: Probe, key: chex.PRNGKey, step_size: float) -> LocalEdge:
    """Find the edge of a loss that is quadratic all the way, from its start alone: Newton's method needs no run.

    Parameters
    ----------
    probe, key
        Whose start.
    step_size
        One at which the run decays, if there is any.

    Returns
    -------
    LocalEdge
    """
    start = probe.one_start(step_size, key)
    linearised = Linearised(probe, start, probe.flow(start, probe.period))
    if not 0 < linearised.size <= DENSE_SIZE:
        return _nowhere("too many parameters for a dense matrix")
    rest = come_to_rest(linearised, linearised.vector(start), step_size)
    return _nowhere("no place of rest was found") if rest is None else _edge_of_place(linearised, rest, step_size)


def _edge_of_place(linearised, rest, step_size):
    num_flat = int(np.sum(np.abs(np.linalg.eigvals(rest.jacobian) - 1) <= FLAT))

    def growth(step_size):
        here = come_to_rest(linearised, rest.place, step_size)
        return math.nan if here is None else growth_rate(here.jacobian, num_flat, linearised.period)

    rates = np.array([growth(step_size * factor) for factor in SCAN])
    if np.any(np.isnan(rates)):
        return _nowhere("the step cannot be differentiated where runs come to rest")
    if rates[0] > 0:
        return _nowhere("runs come to rest where the step is unstable: at a saddle")
    if not np.any(rates > 0):
        return _nowhere("the place where runs come to rest is stable far beyond the edge")
    local = _root(growth, step_size * SCAN, rates, linearised.eps)._replace(num_flat=num_flat)
    found = local.found
    if not found.is_number:
        return local
    here = come_to_rest(linearised, rest.place, found.value)
    if here is None:
        return _nowhere("no place of rest was found at the edge")
    _, beside = linearised.at(here.place + here.correction, found.value)
    shift = abs(growth_rate(beside, num_flat, linearised.period)) / local.slope
    return local._replace(found=Found(found.value, found.error + 2 * shift * found.value))


def _root(growth, step_sizes, rates, eps):
    from scipy import optimize

    at = int(np.argmax(rates > 0))
    lower, upper = step_sizes[at - 1], step_sizes[at]
    value: Any = optimize.brentq(growth, lower, upper, xtol=1e-300, rtol=4 * np.finfo(float).eps)
    slope = (growth(value * (1 + NUDGE)) - growth(value * (1 - NUDGE))) / (2 * NUDGE)
    if not slope > 0:
        return _nowhere("the largest multiplier does not pass 1 with a slope")
    # Rounding of the multiplier, seen through the slope.
    noise = max(abs(growth(value * (1 + shift)) - shift * slope) for shift in (0.0, 400 * eps, -400 * eps))
    return LocalEdge(Found(value, value * (FLOOR * eps + 2 * noise / slope)), slope)


def _drift(linearised, start, local, num_steps):
    """Growth of the critical mode per step in the start's own run at the edge; 0 where it holds none of it."""
    half, end = linearised.halves(start, local.found.value, num_steps)
    # It may have come to another place of the same kind, as to the mirror image of a minimum.
    rest = come_to_rest(linearised, end, local.found.value) if np.all(np.isfinite(end)) else None
    if rest is None:
        return math.inf
    values, left = np.linalg.eig(rest.jacobian.T)
    others = np.argsort(np.abs(values - 1))[local.num_flat :]
    critical = others[int(np.argmax(np.abs(values[others])))]
    if not abs(math.log(abs(values[critical]))) <= SAME_PLACE:
        return math.inf
    early, late = (float(np.abs(left[:, critical] @ (z - rest.place))) for z in (half, end))
    smallest = UNSEEN * linearised.scale
    return math.log(late / early) / (num_steps // 2) if early > smallest and late > smallest else 0.0


def _nowhere(reason):
    """No edge of this kind, and why."""
    return LocalEdge(nothing(reason))


def _curvature_edge(probe, start, end, step_size):
    """Of more numbers than fit a dense matrix: the edge of a single number, of the largest curvature at the minimum."""
    here = resolve_problem(probe.problem, probe.hyperparams(step_size))
    probe.num_runs += 1
    elsewhere = probe.flow(start._replace(hyperparams=probe.hyperparams(ELSEWHERE * step_size)), probe.num_steps)
    at_both = [_curvature_at(here, state) for state in (end, elsewhere)]
    if any(not residual <= SAME_PLACE * abs(curvature) for curvature, residual in at_both) or at_both[0][0] <= 0:
        return _nowhere("the largest curvature where runs come to rest is not known well enough")
    (curvature, residual), (other, _) = at_both
    if abs(other - curvature) > SAME_PLACE * curvature:
        return _nowhere("runs at other step sizes come to rest at another minimum, so that none stands alone")
    single = problem(jnp.ones(1), lambda number: 0.5 * curvature * jnp.sum(number**2))
    bowl, key = Probe(single, probe.family, probe.num_steps, along=probe.along), jax.random.key(0)
    bowl.period = probe.period
    if not is_affine(bowl, key, step_size):
        return _nowhere("more parameters than the linearised step of an optimizer with a preconditioner can have")
    edge = minimum_of_affine(bowl, key, step_size)
    found = edge.found
    relative = (residual + abs(other - curvature)) / curvature + CURVATURE_RTOL
    return edge._replace(found=found._replace(error=found.error + found.value * relative))


def _curvature_at(here, state):
    """Largest curvature at the minimum near a state, and its residual; NaN where there is none."""

    def loss(params):
        return here.loss(params, state.model_state, None)[0]

    params = _polished(loss, state.params)
    if params is None:
        return math.nan, math.nan
    found = sharpness(loss, params, rtol=CURVATURE_RTOL)
    return float(found.value), float(found.residual)


def _polished(loss, params):
    """Newton's method by conjugate gradients from the end of a run; None where no minimum stands alone there."""
    flat, unravel = ravel_pytree(params)
    gradient = jax.jit(jax.grad(lambda vector: loss(unravel(vector))))

    @jax.jit
    def newton(vector):
        def product(direction):
            return jax.jvp(gradient, (vector,), (direction,))[1]

        return vector - jax.scipy.sparse.linalg.cg(product, gradient(vector), tol=1e-10, maxiter=MAX_PRODUCTS)[0]

    first = float(jnp.linalg.norm(gradient(flat)))
    for _ in range(POLISHES):
        flat = newton(flat)
    last = float(jnp.linalg.norm(gradient(flat)))
    return unravel(flat) if last <= max(POLISHED * first, 1e-14) else None
