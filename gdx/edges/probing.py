"""The one compiled program behind all estimates: a few runs side by side, seen at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems.base import Problem
from gdx.stepping import Family, TrainState, frozen_params, gradient_norm, train_step

if TYPE_CHECKING:
    import chex
    from jaxtyping import Bool, Float

WIDTH = 16
"""Runs side by side, S; always as many, so that nothing compiles twice."""
TAIL = 64
"""Steps of the tail that has to stay below the tolerance, as in a sweep."""
BLOCKS = 8
"""Blocks of the tail's length, spread over the second half of a run, that are compared with each other."""
STATIONARY = 1e-9
"""Largest relative change between those blocks, and from a step to the one after next, of a cycle of two."""
PARTS, CLIMB = 4, 1.01
"""Parts of the second half of a run, each of which a growing norm leaves this many times larger than the last."""
VISIBLE = 1e-9
"""Smallest gradient norm of a cycle, relative to the first."""
BLOW_UP_FACTOR = 1e12
"""As in a sweep."""


class Traces(NamedTuple):
    """What was seen of runs at `step_sizes`, ascending or not."""

    step_sizes: Float[np.ndarray, " S"]
    norms: Float[np.ndarray, "T S"]
    """Gradient norms."""
    changes: Float[np.ndarray, "T S"]
    """Logarithm of the norm of the gradient's change since the last step; -inf at the first step."""
    losses: Float[np.ndarray, "2 S"]
    """First and last."""
    states: TrainState
    """At the end, leaves [S, ...]."""

    @property
    def escaped(self) -> Bool[np.ndarray, " S"]:
        """Whether a run was no longer finite, or its loss beyond the blow-up bound, at the end."""
        bound = BLOW_UP_FACTOR * np.maximum(np.abs(self.losses[0]), 1)
        return ~np.isfinite(self.norms[-1]) | ~(np.abs(self.losses[1] - self.losses[0]) <= bound)

    def arrived(self, tolerance: float) -> Bool[np.ndarray, " S"]:
        """Say which runs kept their gradient norm at or below the tolerance over the whole tail.

        Parameters
        ----------
        tolerance
            Relative to the first gradient norm.

        Returns
        -------
        array
        """
        with np.errstate(invalid="ignore"):
            return ~self.escaped & ~self.grows & (np.max(self.norms[-TAIL:], axis=0) <= tolerance * self.norms[0])

    @property
    def grows(self) -> Bool[np.ndarray, " S"]:
        """Whether the gradient norm climbs all through the second half of a run.

        Just above an edge a run may come very close to a minimum, and stay there for as long as its one unstable
        direction takes to grow.
        """
        parts = np.array_split(self.norms[self.norms.shape[0] // 2 :], PARTS)
        with np.errstate(invalid="ignore"):
            largest = np.stack([np.max(part, axis=0) for part in parts])
            return np.all(largest[1:] > CLIMB * largest[:-1], axis=0)

    @property
    def cycles(self) -> Bool[np.ndarray, " S"]:
        """Whether the gradient norm came back every two steps and no longer drifted, above zero."""
        num_steps = self.norms.shape[0]
        if num_steps < 4 * TAIL:
            return np.zeros(self.step_sizes.size, bool)
        ends = np.linspace(num_steps // 2, num_steps, BLOCKS).astype(int)
        with np.errstate(invalid="ignore", over="ignore"):
            means = np.stack([np.mean(self.norms[end - TAIL : end] ** 2, axis=0) for end in ends[-BLOCKS // 2 :]])
            last = self.norms[-TAIL:] ** 2
            drift = np.max(np.abs(means - means[-1]), axis=0)
            flutter = np.max(np.abs(last[2:] - last[:-2]), axis=0)
            # Runs at rest at the level of rounding repeat as well.
            visible = means[-1] > VISIBLE**2 * self.norms[0] ** 2
            return ~self.escaped & visible & (np.maximum(drift, flutter) <= STATIONARY * means[-1])

    @property
    def levels(self) -> Float[np.ndarray, " S"]:
        """Mean of the squared gradient norm over the tail."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.mean(self.norms[-TAIL:] ** 2, axis=0)


class Probe:
    """Runs of one problem and family over one horizon, `WIDTH` at a time.

    Attributes
    ----------
    num_runs, num_gradients : int
        Spent so far.
    """

    def __init__(self, problem: Problem | Callable[[Any], Problem], family: Family, num_steps: int):
        self.num_steps, self.num_runs = num_steps, 0
        self._step = train_step(problem, family)
        self._about = (problem, family)
        self._watch = jax.jit(self._watched)
        self._start = jax.jit(jax.vmap(self._step.init, in_axes=(0, None)))

    @property
    def num_gradients(self) -> int:
        """Gradients spent so far."""
        return self.num_runs * self.num_steps

    def start(self, step_sizes: Any, key: chex.PRNGKey) -> TrainState:
        """Make the states that runs at these step sizes begin with.

        Parameters
        ----------
        step_sizes
            [S], at most `WIDTH`.
        key
            One typed key.

        Returns
        -------
        TrainState
            Leaves [WIDTH, ...].
        """
        padded = np.full(WIDTH, np.asarray(step_sizes)[-1], np.result_type(float))
        padded[: len(step_sizes)] = step_sizes
        return self._start(jnp.asarray(padded, jnp.result_type(float)), key)

    def __call__(self, step_sizes: Any, key: chex.PRNGKey, source: TrainState | None = None) -> Traces:
        """Run from a start, or from where one run ended.

        Parameters
        ----------
        step_sizes
            [S], at most `WIDTH`.
        key
            One typed key: whose start it is.
        source
            A state of one run, whose parameters all runs begin with; the optimizer's state begins anew.

        Returns
        -------
        Traces
        """
        step_sizes = np.asarray(step_sizes, float)
        states = self.start(step_sizes, key)
        if source is not None:

            def repeated(leaf):
                return jnp.broadcast_to(leaf, (WIDTH, *leaf.shape))

            states = states._replace(
                params=jax.tree.map(repeated, source.params), model_state=jax.tree.map(repeated, source.model_state)
            )
        count = step_sizes.size
        self.num_runs += count
        states, (norms, changes), losses = self._watch(states)
        return Traces(
            step_sizes,
            np.asarray(norms)[:, :count],
            np.asarray(changes)[:, :count],
            np.asarray(losses)[:, :count],
            jax.tree.map(lambda leaf: leaf[:count], states),
        )

    def depends_on_count(self, traces: Traces) -> bool:
        """Say whether the next update would be another one had more steps come before it.

        Parameters
        ----------
        traces
            Runs that have ended.

        Returns
        -------
        bool
            True under a schedule, and under a bias correction that has not faded.
        """
        leaves = jax.tree.leaves(traces.states.opt_state)
        if not any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in leaves):
            return False

        def later(leaf):
            return 2 * leaf + 1 if jnp.issubdtype(leaf.dtype, jnp.integer) else leaf

        aged = traces.states._replace(opt_state=jax.tree.map(later, traces.states.opt_state))
        move = jax.jit(jax.vmap(lambda state: optax.tree.sub(self._step.update(state)[0].params, state.params)))
        as_it_is, as_it_would_be = move(traces.states), move(aged)
        size = np.asarray(jax.vmap(gradient_norm)(as_it_is))
        change = np.asarray(jax.vmap(gradient_norm)(optax.tree.sub(as_it_is, as_it_would_be)))
        usable = np.isfinite(size) & (size > 0)
        return bool(np.any(change[usable] > 1e-9 * size[usable]))

    def _watched(self, states):
        update = jax.vmap(self._step.update)
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
        frozen = frozen_params(*self._about, one)

        def norms_of(gradient):
            return jax.vmap(lambda tree: gradient_norm(tree, frozen))(gradient)

        def body(carry, _):
            states, before, _ = carry
            states, view = update(states)
            change = norms_of(optax.tree.sub(view.gradient, before))
            norm = norms_of(view.gradient)
            return (states, view.gradient, view.loss), (norm, jnp.log(change))

        # The first step is taken apart: it says what a gradient looks like, and the first loss.
        states, view = update(states)
        first = norms_of(view.gradient)
        carry = (states, view.gradient, view.loss)
        (states, _, loss), (norms, changes) = jax.lax.scan(body, carry, length=self.num_steps - 1)
        norms = jnp.concatenate([first[None], norms])
        changes = jnp.concatenate([jnp.full_like(first, -jnp.inf)[None], changes])
        return states, (norms, changes), jnp.stack([view.loss, loss])
