"""Experiments on an optimizer as a black box: after a burn-in it is given impulses and noise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.responses.parities import Parity, Survey, change, hold, update_of
from gdx.trees import rows

if TYPE_CHECKING:
    import chex
    import optax
    from jaxtyping import Float

BURN_IN = 2048
"""Fewest steps before the impulse, so that bias corrections and warm-ups have settled."""
LATE = 1 << 20
"""Count of updates at which no bias correction of a preconditioner is left; filling it so long would be a waste."""
FAR = (10_007, 1_000_003)
"""Counts to which the clocks are put forward, to see whether anything changes."""
FIRST_LENGTH = 1 << 10
HEAD = 160
"""Steps for which the updates of all entries are kept."""
NOISE_LENGTH = 128
"""Steps for which gradients go on that are no impulse; no period is longer."""
BACKGROUND = 1.0
"""Size of the gradients that fill a second moment before it is held fixed."""
FAINT = 1e-8
"""Impulse beside the background: its square vanishes beside the second moment in float64."""
MOST_STARTS = 256
NUM_SIGNS = 1 << 13


class Setting(NamedTuple):
    """How a state is filled before anything is tried with it; leaves are numbers, or arrays [F]."""

    burn_in: Any
    step_size: Any = 1.0
    jump: Any = 0
    """Added to the counts of updates."""
    standing: Any = 0.0
    """What all parameters are, in units of an impulse."""
    background: Any = BACKGROUND


class Experiment(NamedTuple):
    """What is given to a filled state; numbers in units of an impulse, or arrays [B]."""

    setting: Any = 0
    start: Any = 0
    """Steps after the burn-in."""
    held_from: Any = None
    """The setting whose preconditioner is held; by default its own."""
    entry: Any = 0
    """Of the parameters, flattened: the one that the impulses belong to."""
    impulse: Any = 0.0
    everywhere: Any = 0.0
    """The gradient of all entries at the first steps."""
    noise: Any = 0.0
    """Size of random gradients of the first steps."""
    param: Any = 0.0
    param_everywhere: Any = 0.0
    param_noise: Any = 0.0


class Outcome(NamedTuple):
    """What followed, in units of the impulses."""

    series: Float[np.ndarray, "B J"]
    """Minus the updates of the experiment's entry, over the step size."""
    aside: Float[np.ndarray, "B J"]
    """The largest magnitude of any other entry's."""
    heads: Float[np.ndarray, "B H D"]
    """Of all entries, the first steps of the first experiments."""


class Bench(NamedTuple):
    """An optimizer on its stand-in, ready for experiments."""

    play: Callable[..., Outcome]
    """`play(settings, experiments, length, num_starts, num_heads)`."""
    states: Callable[..., Any]
    """`states(setting, num_starts)`: the filled states, leaves [num_starts, ...]."""
    update: Callable[[Any, Any, Any], tuple[Any, Any]]
    """`update(gradient, state, params)` of vectors, at a step size of 1."""
    noise: Float[np.ndarray, "N D"]
    param_noise: Float[np.ndarray, "N D"]
    unit: float
    num_entries: int


def make_bench(
    family: Callable[[Any], optax.GradientTransformation], stand_in: chex.ArrayTree, survey: Survey
) -> Bench:
    """Prepare experiments on an optimizer.

    Parameters
    ----------
    family
        `step_size -> optax transformation`, checked.
    stand_in
        Parameters, zeros.
    survey
        Of the transformation's state.

    Returns
    -------
    Bench

    Notes
    -----
    The leaves of the state that are a preconditioner's are filled by gradients of size 1, of random sign and alike for
    all entries; from the impulse on they are held. Impulses are then faint, and the memory is emptied before. All
    experiments of one setting see the preconditioner of its first start.
    """
    leaves, structure = jax.tree.flatten(stand_in)
    kinds, size, ends = survey.kinds, sum(leaf.size for leaf in leaves), np.cumsum([leaf.size for leaf in leaves])
    is_preconditioned = Parity.EVEN in kinds
    unit = BACKGROUND * FAINT if is_preconditioned else 1.0
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], NUM_SIGNS)
    noise, param_noise = (rng.uniform(0.5, 1.5, (NOISE_LENGTH, size)) * _signs(rng, size) for _ in range(2))

    def unravel(flat):
        parts = jnp.split(flat, ends[:-1])
        return structure.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])

    def vector_update(step_size):
        update = update_of(family(step_size))

        def updated(gradient, state, params):
            found, new = update(unravel(gradient), state, unravel(params))
            return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found)]), new

        return updated

    def begin(setting):
        start = jax.tree.map(
            jnp.asarray, family(setting.step_size).init(unravel(jnp.full(size, setting.standing * unit)))
        )
        leaves, structure = jax.tree.flatten(start)
        pairs = zip(leaves, survey.rising, strict=True)
        return structure.unflatten([leaf + jnp.asarray(setting.jump, leaf.dtype) if up else leaf for leaf, up in pairs])

    def fill(settings, num_starts):
        """States of all settings at the starts, leaves [F, num_starts, ...]."""
        longest = jnp.max(settings.burn_in)

        def filled(setting, state, time):
            sign = jnp.asarray(signs)[(time - longest + setting.burn_in) % NUM_SIGNS]
            gradient = jnp.full(size, setting.background * sign if is_preconditioned else 0.0)
            new = vector_update(setting.step_size)(gradient, state, jnp.full(size, setting.standing * unit))[1]
            # All settings end together; those with a shorter burn-in begin later.
            is_on = time >= longest - setting.burn_in
            return jax.tree.map(lambda n, o: jnp.where(is_on, n, o), new, state)

        def body(time, carry):
            states, kept = carry
            kept = jax.tree.map(lambda all_, one: all_.at[:, jnp.maximum(time - longest, 0)].set(one), kept, states)
            return jax.vmap(filled, in_axes=(0, 0, None))(settings, states, time), kept

        states = jax.vmap(begin)(settings)
        kept = jax.tree.map(lambda leaf: jnp.stack([leaf] * num_starts, axis=1), states)
        return jax.lax.fori_loop(0, longest + num_starts, body, (states, kept))[1]

    def emptied(state):
        return change(state, {Parity.ODD: jnp.zeros_like}, kinds) if is_preconditioned else state

    def chosen(kept, experiment):
        """The state that an experiment starts from."""
        state = rows(kept, (experiment.setting, experiment.start))
        first = rows(kept, (experiment.held_from, 0))
        return emptied(hold(state, first, kinds))

    def step(experiment, setting, state, inputs):
        time, noise, param_noise = inputs
        is_first = jnp.where(time == 0, 1.0, 0.0)
        here = jnp.zeros(size).at[experiment.entry].set(1.0)
        is_on = jnp.where(time < NOISE_LENGTH, 1.0, 0.0)
        gradient = is_first * experiment.impulse * here + is_on * experiment.everywhere + experiment.noise * noise
        params = is_first * experiment.param * here + is_on * experiment.param_everywhere
        params = params + experiment.param_noise * param_noise + setting.standing
        found, new = vector_update(setting.step_size)(unit * gradient, state, unit * params)
        return found / (-unit * setting.step_size), hold(new, state, kinds)

    @functools.partial(jax.jit, static_argnames=("length", "num_starts", "num_heads"))
    def play(settings, experiments, length, num_starts, num_heads):
        kept = fill(settings, num_starts)
        states = jax.vmap(chosen, in_axes=(None, 0))(kept, experiments)
        own = rows(settings, experiments.setting)
        entries = jnp.arange(size)[None] == experiments.entry[:, None]
        streams = [jnp.zeros((length, size)).at[:NOISE_LENGTH].set(stream) for stream in (noise, param_noise)]

        def all_step(carry, inputs):
            states, heads = carry
            found, states = jax.vmap(step, in_axes=(0, 0, 0, None))(experiments, own, states, inputs)
            series = jnp.take_along_axis(found, experiments.entry[:, None], axis=1)[:, 0]
            # Beyond the head every step overwrites one row more.
            heads = heads.at[jnp.minimum(inputs[0], HEAD)].set(found[:num_heads])
            return (states, heads), (series, jnp.max(jnp.where(entries, 0.0, jnp.abs(found)), axis=1))

        heads = jnp.zeros((HEAD + 1, num_heads, size))
        (_, heads), (series, aside) = jax.lax.scan(all_step, (states, heads), (jnp.arange(length), *streams))
        return series.T, aside.T, heads[:HEAD].swapaxes(0, 1)

    def played(settings, experiments, length, num_starts, num_heads):
        settings, experiments = _stacked(settings), _stacked([_holding(row) for row in experiments])
        return Outcome(*(np.asarray(leaf) for leaf in play(settings, experiments, length, num_starts, num_heads)))

    @functools.partial(jax.jit, static_argnames=("num_starts",))
    def states(settings, num_starts):
        rows = _stacked([Experiment(start=start, held_from=0) for start in range(num_starts)])
        return jax.vmap(chosen, in_axes=(None, 0))(fill(settings, num_starts), rows)

    def held(gradient, state, params):
        found, new = vector_update(1.0)(gradient, state, params)
        return found, hold(new, state, kinds)

    return Bench(
        played,
        lambda setting, num_starts: states(_stacked([setting]), num_starts),
        held,
        noise,
        param_noise,
        unit,
        size,
    )


def _signs(rng, size):
    return rng.choice([-1.0, 1.0], (NOISE_LENGTH, size))


def _holding(experiment):
    return experiment._replace(held_from=experiment.setting) if experiment.held_from is None else experiment


def _stacked(rows):
    """Records of numbers as one record of arrays."""
    return jax.tree.map(lambda *numbers: np.stack(numbers), *rows)
