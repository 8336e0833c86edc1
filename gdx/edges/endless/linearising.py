"""A step as a linear map at one place, and the places that a step leaves as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.edges.endless.probing import Probe, coarsest_eps
from gdx.stepping import TrainState
from gdx.stepping.tangents import movable, push, with_movable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

MAX_NEWTON = 30
TANGENT_COST = 2
"""Gradients that the derivative of a step in one direction is counted as."""
RANK = 1e-10
"""Singular values of the linearised step minus one, relative, below which a direction is flat."""
AT_REST = 1e-11
"""Largest change by one step, relative to the run's own scale, of what is at rest."""
ROUNDING = 16
"""Units of rounding of the narrowest leaf that such a change may be as well."""


class Rest(NamedTuple):
    """A place that a step leaves as it is."""

    place: Float[np.ndarray, " n"]
    changed: Float[np.ndarray, " n"]
    """What a step still changes there."""
    jacobian: Float[np.ndarray, "n n"]
    moved: float
    """Distance from where the search began."""

    @property
    def correction(self) -> Float[np.ndarray, " n"]:
        """Newton's next step, which the place is as uncertain as."""
        return newton_step(self.jacobian, self.changed)


class Linearised:
    """A period of steps of one problem and family as a map of one vector: parameters, model state and memory.

    What a step never changes (data that travels in the state, frozen leaves) and what is no floating number (step
    counts, keys) is left out.
    """

    def __init__(self, probe: Probe, start: TrainState, end: TrainState):
        self._probe, self._template, self.period = probe, end, probe.period
        self.eps = coarsest_eps(end)
        # A memory may be empty at both ends of a run, or of a period, but not after the first step.
        later = (probe.flow(start, count) for count in (1, probe.period))
        places = zip(*(movable(state) for state in (start, *later, end)), strict=True)
        self._moves = tuple(
            any(np.any(np.asarray(other) != np.asarray(first)) for other in others) for first, *others in places
        )
        self.scale = max(float(np.linalg.norm(self.vector(state))) for state in (start, end))
        self.size = self.vector(end).size
        key = "linearised", self._moves, probe.period
        if key not in probe.compiled:
            probe.compiled[key] = _with_derivative(probe.advance, self._moves)
        self._both: Callable[..., Any] = probe.compiled[key]

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
        return np.asarray(_joined(movable(state), self._moves, float))

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
        self._probe.num_single += TANGENT_COST * self.size * self.period
        changed, jacobian = self._both(jnp.asarray(z), self._probe.hyperparams(step_size), self._template)
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
        self._probe.num_runs += 1
        middle = self._probe.flow(start._replace(hyperparams=self._probe.hyperparams(step_size)), half)
        return self.vector(middle), self.vector(self._probe.flow(middle, half))


def _with_derivative(advance, moves):
    """`(z, hyperparams, template) -> (what a period of steps changes, derivative of where it leads)`, compiled."""

    def both(z, hyperparams, template):
        state = template._replace(hyperparams=hyperparams)
        state = with_movable(state, _split(z, movable(template), moves))

        def column(tangent):
            nothing = [jnp.zeros_like(leaf) for leaf in movable(template)]
            new, tangents = push(advance, state, _split(tangent, nothing, moves))
            return _joined(movable(new), moves, z.dtype), _joined(tangents, moves, z.dtype)

        new, columns = jax.vmap(column, out_axes=(None, 1))(jnp.eye(z.size, dtype=z.dtype))
        return new - z, columns

    return jax.jit(both)


def _joined(leaves, moves, dtype):
    """As one vector, what moves of the leaves."""
    moved = [jnp.ravel(leaf).astype(dtype) for leaf, is_moved in zip(leaves, moves, strict=True) if is_moved]
    return jnp.concatenate(moved) if moved else jnp.zeros(0, dtype)


def _split(z, leaves, moves):
    """The leaves, with what moves of them taken from a vector."""
    place, filled = 0, []
    for leaf, is_moved in zip(leaves, moves, strict=True):
        size = leaf.size if is_moved else 0
        filled.append(z[place : place + size].reshape(leaf.shape).astype(leaf.dtype) if is_moved else leaf)
        place += size
    return filled


def newton_step(jacobian: Float[np.ndarray, "n n"], changed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Give the shortest way to where a step would change nothing, were it linear.

    Parameters
    ----------
    jacobian, changed
        Of the step, at one place.

    Returns
    -------
    array [n]
    """
    return -np.linalg.lstsq(jacobian - np.eye(changed.size), changed, rcond=RANK)[0]


def come_to_rest(linearised: Linearised, place: Any, step_size: float) -> Rest | None:
    """Look for the place that a step leaves as it is, by Newton's method.

    Parameters
    ----------
    linearised, place, step_size
        The step, and where to begin.

    Returns
    -------
    Rest or None
        None where the method does not arrive.
    """
    first, least, best = place, math.inf, None
    for _ in range(MAX_NEWTON):
        changed, jacobian = linearised.at(place, step_size)
        size = np.linalg.norm(changed)
        if not (np.all(np.isfinite(jacobian)) and size < 0.5 * least):
            break
        best, least = (place, changed, jacobian), size
        if size == 0:
            break
        place = place + newton_step(jacobian, changed)
    if best is None or not least <= max(AT_REST, ROUNDING * linearised.eps) * linearised.scale:
        return None
    place, changed, jacobian = best
    return Rest(place, changed, jacobian, float(np.linalg.norm(place - first)))


def growth_rate(jacobian: Float[np.ndarray, "n n"], num_flat: int, period: int) -> float:
    """Give the logarithm, per step, of the largest multiplier that belongs to no flat direction.

    Parameters
    ----------
    jacobian, period
        Of so many steps.
    num_flat
        Multipliers nearest to 1 that are left out.

    Returns
    -------
    float
    """
    multipliers = np.linalg.eigvals(jacobian)
    others = multipliers[np.argsort(np.abs(multipliers - 1))[num_flat:]]
    largest = float(np.max(np.abs(others), initial=0.0))
    return math.log(largest) / period if largest > 0 else -math.inf
