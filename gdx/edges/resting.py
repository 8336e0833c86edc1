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
from gdx.edges.probing import Probe, coarsest_eps
from gdx.problems import problem
from gdx.stepping import TrainState, resolve_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    import chex
    from jaxtyping import Float

DENSE_SIZE = 400
"""Up to this many numbers of parameters and memory the linearised step is a dense matrix."""
MAX_NEWTON = 30
RANK = 1e-10
"""Singular values of the linearised step minus one, relative, below which a direction is flat."""
FLAT = 1e-8
"""Distance from 1 of a multiplier that belongs to a flat direction: a valley of minima, or a conserved quantity."""
AT_REST = 1e-11
"""Largest change by one step, relative to the run's own scale, of what is at rest."""
NOTHING, EMPTY = 1e-20, 1e-30
"""What counts as 0 in a memory, and what stands for it: the root of an empty second moment has no derivative, though
nothing hangs on it."""
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


class LocalEdge(NamedTuple):
    """The step size at which a place of rest loses its stability."""

    value: float
    """NaN where there is none; `reason` says why."""
    error: float
    slope: float
    """Change of the logarithm of the largest multiplier per relative change of the step size, at the edge."""
    num_flat: int
    """Flat directions, along which other minima lie next to this one."""
    drift: float = 0.0
    """Growth per step of the critical mode of the start itself at that step size, where only what is not linear can
    make it grow (the edge of the start lies lower: a hard one) or shrink (a soft one)."""
    reason: str = ""

    @property
    def is_number(self) -> bool:
        """Whether there is an edge."""
        return math.isfinite(self.value) and math.isfinite(self.error)


def nowhere(reason: str) -> LocalEdge:
    """Say why there is no edge of this kind.

    Parameters
    ----------
    reason
        One sentence for a person.

    Returns
    -------
    LocalEdge
    """
    return LocalEdge(math.nan, math.nan, math.nan, 0, reason=reason)


class Linearised:
    """A period of steps of one problem and family as a map of one vector: parameters, model state and memory.

    What a step never changes (data that travels in the state, frozen leaves) and what is no floating number (step
    counts, keys) is left out.
    """

    def __init__(self, probe: Probe, start: TrainState, end: TrainState):
        self._probe, self._template, self.period = probe, end, probe.period
        self.eps = coarsest_eps(end)
        # A memory may be empty at both ends of a run, or of a period, but not after the first step.
        later = (jax.jit(move)(start) for move in (lambda state: probe.step.update(state)[0], probe.advance))
        places = zip(*(_parts(state) for state in (start, *later, end)), strict=True)
        self._moves = tuple(
            jnp.issubdtype(first.dtype, jnp.floating)
            and any(np.any(np.asarray(other) != np.asarray(first)) for other in others)
            for first, *others in places
        )
        self._is_memory = np.concatenate(
            [
                np.full(leaf.size, memory)
                for part, memory in ((end.params, False), (end.model_state, False), (end.opt_state, True))
                for leaf in jax.tree.leaves(part)
            ]
        )[np.repeat(self._moves, [leaf.size for leaf in _parts(end)])]
        self.scale = max(float(np.linalg.norm(self.vector(state))) for state in (start, end))
        self.size = sum(leaf.size for leaf, moves in zip(_parts(end), self._moves, strict=True) if moves)
        self._both: Callable[..., Any] = jax.jit(
            lambda z, step_size, template: (
                self._map(z, step_size, template) - z,
                jax.jacfwd(self._map)(z, step_size, template),
            )
        )

        self._flow = jax.jit(
            lambda state, num_steps: jax.lax.fori_loop(0, num_steps, lambda _, at: probe.step.update(at)[0], state)
        )

    def vector(self, state: TrainState) -> Float[np.ndarray, " n"]:
        """Give a state as a vector.

        Parameters
        ----------
        state
            Of one run.

        Returns
        -------
        array
        """
        pairs = zip(_parts(state), self._moves, strict=True)
        return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf, moves in pairs if moves])

    def at(self, z: Any, step_size: float) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
        """Give what one step changes, and the derivative of where it leads.

        Parameters
        ----------
        z, step_size
            The place and the step size.

        Returns
        -------
        array [n], array [n, n]
        """
        z = np.where(self._is_memory & (np.abs(z) < NOTHING), EMPTY, z)
        changed, jacobian = self._both(jnp.asarray(z), jnp.asarray(step_size, float), self._template)
        return np.asarray(changed), np.asarray(jacobian)

    def halves(self, start: TrainState, step_size: float, num_steps: int) -> tuple[Any, Any]:
        """Run a start and see where it is after half of the steps and after all.

        Parameters
        ----------
        start, step_size, num_steps
            Of the run.

        Returns
        -------
        array [n], array [n]
        """
        half = num_steps // 2 - num_steps // 2 % self._probe.period
        middle = self._flow(start._replace(hyperparams=jnp.asarray(step_size, float)), half)
        return self.vector(middle), self.vector(self._flow(middle, half))

    def _map(self, z, step_size, template):
        leaves, structure = jax.tree.flatten((template.params, template.model_state, template.opt_state))
        place, filled = 0, []
        for leaf, moves in zip(leaves, self._moves, strict=True):
            if moves:
                filled.append(z[place : place + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
                place += leaf.size
            else:
                filled.append(leaf)
        params, model_state, opt_state = structure.unflatten(filled)
        state = template._replace(hyperparams=step_size, params=params, model_state=model_state, opt_state=opt_state)
        new = _parts(self._probe.advance(state))
        return jnp.concatenate(
            [jnp.ravel(leaf).astype(z.dtype) for leaf, moves in zip(new, self._moves, strict=True) if moves]
        )


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
        The place is polished by Newton's method on the step itself, so its error is that of rounding; with more than
        `DENSE_SIZE` numbers it is taken as the run left it.
    """
    linearised = Linearised(probe, start, end)
    if linearised.size == 0:
        return nowhere("no parameter moves")
    if linearised.size > DENSE_SIZE:
        return _curvature_edge(probe, end, step_size)
    travelled = np.linalg.norm(linearised.vector(end) - linearised.vector(start))
    place, jacobian, moved = _come_to_rest(linearised, linearised.vector(end), step_size)
    if jacobian is None or not moved <= FURTHEST * travelled:
        return nowhere("the run below the edge has not come to rest")
    found = _edge_of_place(linearised, place, jacobian, step_size)
    if not found.is_number or found.num_flat:
        return found
    return found._replace(drift=_drift(linearised, start, found, probe.num_steps))


def _edge_of_place(linearised, place, jacobian, step_size):
    if jacobian is None:
        return nowhere("no place of rest was found")
    num_flat = int(np.sum(np.abs(np.linalg.eigvals(jacobian) - 1) <= FLAT))

    def growth(step_size):
        return _growth(linearised, place, step_size, num_flat)

    rates = np.array([growth(step_size * factor) for factor in SCAN])
    if np.any(np.isnan(rates)):
        return nowhere("the step cannot be differentiated where runs come to rest")
    if rates[0] > 0:
        return nowhere("runs come to rest where the step is unstable: at a saddle")
    if not np.any(rates > 0):
        return nowhere("the place where runs come to rest is stable far beyond the edge")
    return _root(growth, step_size * SCAN, rates, linearised.eps)._replace(num_flat=num_flat)


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
    linearised = Linearised(probe, start, jax.jit(probe.advance)(start))
    if not 0 < linearised.size <= DENSE_SIZE:
        return nowhere("too many parameters for a dense matrix")
    return _edge_of_place(linearised, *_come_to_rest(linearised, linearised.vector(start), step_size)[:2], step_size)


def _drift(linearised, start, found, num_steps):
    """Growth of the critical mode per step in the start's own run at the edge; 0 where it holds none of it."""
    half, end = linearised.halves(start, found.value, num_steps)
    # It may have come to another place of the same kind, as to the mirror image of a minimum.
    place, jacobian, _ = _come_to_rest(linearised, end, found.value)
    if jacobian is None:
        return math.inf
    values, left = np.linalg.eig(jacobian.T)
    others = np.argsort(np.abs(values - 1))[found.num_flat :]
    critical = others[int(np.argmax(np.abs(values[others])))]
    if not abs(math.log(abs(values[critical]))) <= SAME_PLACE:
        return math.inf
    early, late = (float(np.abs(left[:, critical] @ (z - place))) for z in (half, end))
    smallest = UNSEEN * linearised.scale
    return math.log(late / early) / (num_steps // 2) if early > smallest and late > smallest else 0.0


def _root(growth, step_sizes, rates, eps):
    from scipy import optimize

    at = int(np.argmax(rates > 0))
    lower, upper = step_sizes[at - 1], step_sizes[at]
    value = float(optimize.brentq(growth, lower, upper, xtol=1e-300, rtol=4 * np.finfo(float).eps))
    slope = (growth(value * (1 + NUDGE)) - growth(value * (1 - NUDGE))) / (2 * NUDGE)
    if not slope > 0:
        return nowhere("the largest multiplier does not pass 1 with a slope")
    # Rounding of the multiplier, seen through the slope.
    noise = max(abs(growth(value * (1 + shift)) - shift * slope) for shift in (0.0, 400 * eps, -400 * eps))
    return LocalEdge(value, value * (FLOOR * eps + 2 * noise / slope), slope, 0)


def _growth(linearised, place, step_size, num_flat):
    """Logarithm of the largest multiplier that belongs to no flat direction."""
    place, jacobian, _ = _come_to_rest(linearised, place, step_size)
    if jacobian is None:
        return math.nan
    multipliers = np.linalg.eigvals(jacobian)
    others = multipliers[np.argsort(np.abs(multipliers - 1))[num_flat:]]
    largest = float(np.max(np.abs(others), initial=0.0))
    return math.log(largest) / linearised.period if largest > 0 else -math.inf


def _come_to_rest(linearised, place, step_size):
    """Newton's method on what one step changes; the place, the derivative there, and how far it is from the first."""
    first, least, best = place, math.inf, None
    for _ in range(MAX_NEWTON):
        changed, jacobian = linearised.at(place, step_size)
        size = np.linalg.norm(changed)
        if not (np.all(np.isfinite(jacobian)) and size < 0.5 * least):
            break
        best, least = (place, jacobian), size
        if size == 0:
            break
        place = place - np.linalg.lstsq(jacobian - np.eye(place.size), changed, rcond=RANK)[0]
    if best is None or not least <= max(AT_REST, FLOOR * linearised.eps) * linearised.scale:
        return place, None, math.inf
    place, jacobian = best
    return place, jacobian, float(np.linalg.norm(place - first))


def _curvature_edge(probe, end, step_size):
    """Of more numbers than fit a dense matrix: the edge of a single number, of the largest curvature at the minimum."""
    here = resolve_problem(probe.problem, jnp.asarray(step_size))

    def loss(params):
        return here.loss(params, end.model_state, None)[0]

    params = _polished(loss, end.params)
    if params is None:
        return nowhere("the run below the edge has not come to rest at a minimum that stands alone")
    found = sharpness(loss, params, rtol=CURVATURE_RTOL)
    curvature, residual = float(found.value), float(found.residual)
    if not (curvature > 0 and residual <= SAME_PLACE * curvature):
        return nowhere("the largest curvature where runs come to rest is not known well enough")
    single = problem(jnp.ones(1), lambda number: 0.5 * curvature * jnp.sum(number**2))
    bowl, key = Probe(single, probe.family, probe.num_steps), jax.random.key(0)
    bowl.period = probe.period
    if not bowl.is_affine(key, step_size):
        return nowhere(
            "too many parameters for the linearised step of an optimizer that is not linear in the gradients"
        )
    edge = minimum_of_affine(bowl, key, step_size)
    return edge._replace(error=edge.error + edge.value * (residual / curvature + CURVATURE_RTOL))


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


def _parts(state):
    return jax.tree.leaves((state.params, state.model_state, state.opt_state))
