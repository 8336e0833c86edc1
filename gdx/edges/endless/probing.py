"""The one compiled program behind all estimates: a few runs side by side, seen at every step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges.endless.traces import Traces
from gdx.exploring import Along, hyperparams_at
from gdx.problems.base import Problem
from gdx.stepping import Family, TrainState, frozen_params, gradient_norm, train_step
from gdx.sweeps.state import BLOW_UP_FACTOR, TAIL
from gdx.trees import is_floating, repeated, rows

if TYPE_CHECKING:
    import chex

WIDTH = 16
"""Runs side by side, S; always as many, so that nothing compiles twice."""


def coarsest_eps(state: TrainState) -> float:
    """Give the machine precision of the narrowest floating leaf: an optimizer may keep a memory in float32.

    Parameters
    ----------
    state
        Of one run or many.

    Returns
    -------
    float
    """
    leaves = jax.tree.leaves((state.params, state.model_state, state.opt_state))
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves if is_floating(leaf))


class Probe:
    """Runs of one problem and family over one horizon, `WIDTH` at a time.

    Attributes
    ----------
    problem, family, num_steps, along, tail, blow_up_factor
        As given.
    step : TrainStep
        Of one run.
    period : int
        Steps after which the optimizer does the same again, as `choose` found it.
    compiled : dict
        What others make of the step once for all estimates.
    flow, flow_many : callable
        `flow(state, num_steps) -> state` of one run, and of many side by side.
    num_runs, num_single, num_gradients : int
        Runs over the whole horizon, gradients beside them, and gradients in all, spent so far.
    """

    def __init__(
        self,
        problem: Problem | Callable[[Any], Problem],
        family: Family,
        num_steps: int,
        *,
        along: Along | None = None,
        tail: int = TAIL,
        blow_up_factor: float = BLOW_UP_FACTOR,
    ):
        self.problem, self.family, self.along = problem, family, along
        self.num_steps, self.tail, self.blow_up_factor = num_steps, tail, blow_up_factor
        self.num_runs, self.num_single, self.period = 0, 0, 1
        self.compiled: dict[Any, Any] = {}
        self.step = train_step(problem, family)
        self._watch = jax.jit(self._watched)
        self.flow = jax.jit(_repeatedly(self.step.update))
        self.flow_many = jax.jit(_repeatedly(jax.vmap(self.step.update)))
        self._start = jax.jit(jax.vmap(self.step.init, in_axes=(0, None)))

    def anew(self, along: Along | None) -> Probe:
        """Give one that has spent nothing yet, along another line, with all that is compiled.

        Parameters
        ----------
        along
            As in `critical_step_size`.

        Returns
        -------
        Probe
        """
        other = copy.copy(self)
        other.along, other.num_runs, other.num_single, other.period = along, 0, 0, 1
        return other

    def hyperparams(self, step_sizes: Any) -> Any:
        """Give what runs are run at.

        Parameters
        ----------
        step_sizes
            One, or [S].

        Returns
        -------
        pytree
            Of floating arrays.
        """
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), hyperparams_at(self.along, step_sizes)
        )

    @property
    def num_gradients(self) -> int:
        """Gradients spent so far."""
        return self.num_runs * self.num_steps + self.num_single

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
        return self._start(self.hyperparams(padded), key)

    def one_start(self, step_size: float, key: chex.PRNGKey) -> TrainState:
        """Make the state that one run begins with.

        Parameters
        ----------
        step_size, key
            Of the run.

        Returns
        -------
        TrainState
        """
        return rows(self.start([step_size], key), 0)

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
            states = states._replace(
                params=repeated(source.params, WIDTH), model_state=repeated(source.model_state, WIDTH)
            )
        return self._traced(step_sizes, states)

    def go_on(self, traces: Traces) -> Traces:
        """Let runs go on from where they ended, for as long again.

        Parameters
        ----------
        traces
            Of runs [S].

        Returns
        -------
        Traces
            Of the later half; the first gradient norms and losses stay those of the start.
        """
        missing = WIDTH - traces.step_sizes.size

        def padded(leaf):
            return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, axis=0)])

        later = self._traced(traces.step_sizes, jax.tree.map(padded, traces.states))
        norms, losses = (
            np.concatenate([old[:1], new[1:]])
            for old, new in ((traces.norms, later.norms), (traces.losses, later.losses))
        )
        return later._replace(norms=norms, losses=losses, lost=traces.lost | later.lost)

    def _traced(self, step_sizes, states):
        count = step_sizes.size
        self.num_runs += count
        states, (norms, changes), losses, lost = self._watch(states)
        return Traces(
            step_sizes,
            np.asarray(norms)[:, :count],
            np.asarray(changes)[:, :count],
            np.asarray(losses)[:, :count],
            np.asarray(lost)[:count],
            rows(states, slice(count)),
            self.tail,
            self.blow_up_factor,
        )

    def advance(self, state: TrainState) -> TrainState:
        """Make one period of steps of one run; traceable.

        Parameters
        ----------
        state
            Of one run.

        Returns
        -------
        TrainState
        """
        if self.period == 1:
            return self.step.update(state)[0]
        return jax.lax.scan(lambda at, _: (self.step.update(at)[0], None), state, length=self.period)[0]

    def _watched(self, states):
        update = jax.vmap(self.step.update)
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
        frozen = frozen_params(self.problem, self.family, one)

        def norms_of(gradient):
            return jax.vmap(lambda tree: gradient_norm(tree, frozen))(gradient)

        def body(carry, _):
            states, before, _, lost = carry
            states, view = update(states)
            change = norms_of(optax.tree.sub(view.gradient, before))
            norm = norms_of(view.gradient)
            return (states, view.gradient, view.loss, lost | ~jnp.isfinite(view.loss)), (norm, jnp.log(change))

        # The first step is taken apart: it says what a gradient looks like, and the first loss.
        states, view = update(states)
        first, first_loss = norms_of(view.gradient), view.loss
        carry = (states, view.gradient, view.loss, ~jnp.isfinite(first_loss))
        (states, _, loss, lost), (norms, changes) = jax.lax.scan(body, carry, length=self.num_steps - 1)
        norms = jnp.concatenate([first[None], norms])
        changes = jnp.concatenate([jnp.full_like(first, -jnp.inf)[None], changes])
        return states, (norms, changes), jnp.stack([first_loss, loss]), lost


def _repeatedly(update):
    return lambda state, count: jax.lax.fori_loop(0, count, lambda _, at: update(at)[0], state)
