"""Where a small network trains, over the step sizes of its two layers: a boundary that is fractal in places.

Sohl-Dickstein, "The boundary of neural network trainability is fractal", arXiv 2402.06184.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.maps import Axis, BoundaryStatistics, PhaseMap, boundary_statistics, phase_map
from gdx.problems.base import Problem, problem
from gdx.progress import Progress, shown
from gdx.records import record
from gdx.stepping.keys import batch_key
from gdx.studies.reproductions.base import check_precision, held, starts
from gdx.studies.verification import Claim
from gdx.verdicts import Answer

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float, Int

SOURCE = "arXiv 2402.06184"
WIDTH, EXAMPLES, BATCH = 16, 272, 16
NUM_STEPS, TAIL = 500, 20
WINDOW = ((1e-3, 1e6), (1e-3, 1e6))
"""Of the step sizes of the input and of the output layer."""
OFFSETS = (-4.0, 4.0)
"""Of the mean of the input layer's weights at the start."""
SAMPLE, FEW = 128, 32
"""Cells of each map that a plain loop runs again, and of a coarse one."""
NUDGES = np.arange(-3, 4) * 1e-14
"""Of the step sizes, relative: where a plain loop is not of one mind about them rounding decides, and nothing is held
against it."""
DIFFERENT = 0.02
"""Share of the others that may come out otherwise: seven loops may agree by chance."""
TOO_LARGE = 1e6
"""What a loss that is not finite counts as."""
FEWEST_CELLS = 200
"""Along a side, below which nothing is said of a boundary's roughness."""


class Condition(NamedTuple):
    """One of the published pictures."""

    name: str
    activation: Callable[[Any], Any]
    examples: int
    batch: int | None
    is_offset: bool
    published: float
    """Box-counting dimension, median over zooms of 4096^2 cells; NaN where another one was drawn."""


CONDITIONS = (
    Condition("tanh", lambda z: jnp.tanh(jnp.sqrt(2.0) * z), EXAMPLES, None, False, 1.66),
    Condition("relu", lambda z: jnp.sqrt(2.0) * jax.nn.relu(z), EXAMPLES, None, False, np.nan),
    Condition("identity", lambda z: z, WIDTH, None, False, np.nan),
    Condition("tanh, batches of 16", lambda z: jnp.tanh(jnp.sqrt(2.0) * z), EXAMPLES, BATCH, False, np.nan),
    Condition("tanh, one point", lambda z: jnp.tanh(jnp.sqrt(2.0) * z), 1, None, False, np.nan),
    Condition("tanh, offset start", lambda z: jnp.tanh(jnp.sqrt(2.0) * z), EXAMPLES, None, True, np.nan),
)


@record
class TrainabilityMap(NamedTuple):
    """One condition.

    Examples
    --------
    Continues the example of `gdx.studies.trainability`.

    >>> found.maps[0].name, found.maps[0].mapped.answers.shape
    ('tanh', (16, 16))
    """

    name: str
    mapped: PhaseMap
    """Trained or not, cell by cell."""
    sampled: Int[np.ndarray, " C"]
    """Cells that a plain loop ran again, and came out the same for step sizes nudged by rounding."""
    otherwise: int
    """How many of them came out otherwise there."""
    statistics: BoundaryStatistics | None
    """How rough the boundary is, beside its controls; None of maps too coarse to tell."""


@record
class Trainability(NamedTuple):
    """The maps, and whether plain loops agree with them.

    Examples
    --------
    Continues the example of `gdx.studies.trainability`.

    >>> len(found.maps), all(claim.passed for claim in found.claims)
    (6, True)
    """

    maps: tuple[TrainabilityMap, ...]
    claims: tuple[Claim, ...]
    """Published figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def trainability(
    *,
    repeats: int | None = None,
    quick: bool = False,
    seed: int = 0,
    resolution: int | None = None,
    window: tuple[tuple[float, float], tuple[float, float]] = WINDOW,
    conditions: tuple[str, ...] | None = None,
    progress: Progress = None,
) -> Trainability:
    """Map where a network of one hidden layer of 16 trains: the mean of its last 20 losses is below the first.

    The network is phi(X W0 / 4) W1 / 16, W, X and Y normal, 500 steps of gradient descent in float64. Cells along the
    boundary are run, the rest is filled in and audited. A plain loop runs a sample again by the published criterion.

    Parameters
    ----------
    repeats
        There is one start a map: it changes nothing.
    quick
        Whether maps of 16 x 16 will do.
    seed
        Of data and start, at least 0.
    resolution
        Cells along a side; by default 256.
    window
        Step sizes of the input and of the output layer, a part of the published picture.
    conditions
        Names of some of the six; by default all.
    progress
        Called as `progress(finished, total)`, maps; by default a bar on a terminal, False for none.

    Returns
    -------
    Trainability

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.trainability(quick=True)
    >>> [one.otherwise <= 2 for one in found.maps]
    [True, True, True, True, True, True]
    """
    check_precision()
    started = time.perf_counter()
    starts(repeats, 1, seed)
    wanted = _named(conditions)
    size = (16 if quick else 256) if resolution is None else resolution
    maps = []
    with shown(progress, "maps") as told:
        for condition in wanted:
            if told is not None:
                told(len(maps), len(wanted))
            maps.append(_map(condition, size, window, seed))
    claims = tuple(_agreement(one) for one in maps)
    notes = tuple(_note(one, condition) for one, condition in zip(maps, wanted, strict=True))
    num_runs = sum(one.mapped.num_runs + one.sampled.size for one in maps)
    return Trainability(tuple(maps), claims, notes, num_runs, time.perf_counter() - started)


def network(condition: Condition, seed: int) -> Callable[[Any], Problem]:
    """Make the problem of a condition, of a cell's hyperparameters.

    Parameters
    ----------
    condition
        Which.
    seed
        Of data.

    Returns
    -------
    callable
        `hyperparams -> Problem`.
    """
    x_key, y_key = jax.random.split(jax.random.key(seed))
    x = jax.random.normal(x_key, (condition.examples, WIDTH))
    y = jax.random.normal(y_key, (condition.examples,))

    def loss(weights, rows):
        hidden = condition.activation(x[rows] @ weights["input"] / jnp.sqrt(WIDTH))
        return jnp.mean((hidden @ weights["output"] / WIDTH - y[rows]) ** 2)

    def batches(key, step):
        return jax.random.choice(jax.random.fold_in(key, step), condition.examples, (BATCH,), replace=False)

    def made(h):
        def init(key):
            first, second = jax.random.split(key)
            offset = h["offset"] if condition.is_offset else 0.0
            return {
                "input": jax.random.normal(first, (WIDTH, WIDTH)) + offset,
                "output": jax.random.normal(second, (WIDTH,)),
            }

        def whole(weights):
            return loss(weights, np.arange(condition.examples))

        return (
            problem(init, whole) if condition.batch is None else problem(init, loss, batches=batches, full_loss=whole)
        )

    return made


def family(hyperparams: Any) -> optax.GradientTransformation:
    """Descend with a step size a layer, or with one for both.

    Parameters
    ----------
    hyperparams
        With "input" and "output", or "step_size".

    Returns
    -------
    optax.GradientTransformation
    """
    if "step_size" in hyperparams:
        return optax.sgd(hyperparams["step_size"])
    layers = ("input", "output")
    return optax.partition({name: optax.sgd(hyperparams[name]) for name in layers}, {name: name for name in layers})


def _named(conditions):
    known = {condition.name: condition for condition in CONDITIONS}
    for name in conditions or ():
        if name not in known:
            raise ValueError(f"conditions: {name!r} is none of {', '.join(known)}; choose among them")
    return [known[name] for name in (known if conditions is None else conditions)]


def _map(condition, size, window, seed):
    (left, right), (low, high) = window
    if condition.is_offset:
        axes = Axis("offset", *OFFSETS), Axis("step_size", low, high, "log")
    else:
        axes = Axis("input", left, right, "log"), Axis("output", low, high, "log")
    key = jax.random.key(seed + 1)
    mapped = phase_map(
        network(condition, seed),
        family,
        x=axes[0],
        y=axes[1],
        keys=key[None],
        num_steps=NUM_STEPS,
        resolution=size,
        criterion="improved",
        tail=TAIL,
        facts=(),
        evaluate_every=None if condition.batch is None else 1,
        progress=False,
    )
    cells = _sample(mapped, seed)
    hyperparams = {axes[0].name: mapped.x[cells % size], axes[1].name: mapped.y[cells // size]}
    nudged = {name: np.outer(1 + NUDGES, values).ravel() for name, values in hyperparams.items()}
    trained = plain_loop(condition, seed, key, nudged).reshape(NUDGES.size, -1)
    is_sure = np.all(trained == trained[0], axis=0)
    cells, trained = cells[is_sure], trained[0, is_sure]
    otherwise = int(np.sum(trained != (mapped.answers.ravel()[cells] == Answer.MET)))
    statistics = boundary_statistics(mapped.answers, horizon=NUM_STEPS) if size >= FEWEST_CELLS else None
    return TrainabilityMap(condition.name, mapped, cells, otherwise, statistics)


def _number_sampled(mapped):
    return min(SAMPLE if mapped.x.size >= FEWEST_CELLS else FEW, int(np.sum(mapped.computed)))


def _sample(mapped, seed):
    """Computed cells, half of them beside one that comes out otherwise where there are as many."""
    rng, met = np.random.default_rng(seed), mapped.answers == Answer.MET
    number = _number_sampled(mapped)
    beside = np.zeros_like(met)
    for axis in (0, 1):
        for shift in (-1, 1):
            beside |= np.roll(met, shift, axis) != met
    close, others = np.flatnonzero(beside & mapped.computed), np.flatnonzero(~beside & mapped.computed)
    chosen = rng.permutation(close)[: number // 2]
    return np.sort(np.concatenate([chosen, rng.permutation(others)[: number - chosen.size]]))


def plain_loop(
    condition: Condition, seed: int, key: chex.PRNGKey, hyperparams: dict[str, Float[np.ndarray, " C"]]
) -> np.ndarray:
    """Run cells by a vmapped scan that keeps every loss, and judge them by the published criterion.

    Parameters
    ----------
    condition, seed
        Of the network.
    key
        Of the start.
    hyperparams
        Of the cells, leaves [C].

    Returns
    -------
    array
        bool [C]: whether the mean of the last 20 losses, 1e6 for what is not finite, is below the first.
    """
    make = network(condition, seed)

    @jax.jit
    @jax.vmap
    def losses(h):
        here = make(h)
        params, _ = here.init(key)
        sizes = h if "step_size" not in h else dict.fromkeys(("input", "output"), h["step_size"])
        draws = batch_key(key)

        def step(params, count):
            batch = None if here.batches is None else here.batches(draws, count)
            gradient = jax.grad(lambda w: here.loss(w, (), batch)[0])(params)
            full = here.loss(params, (), None)[0] if here.full_loss is None else here.full_loss(params, ())
            return {name: params[name] - sizes[name] * gradient[name] for name in params}, full

        return jax.lax.scan(step, params, jnp.arange(NUM_STEPS))[1]

    found = np.asarray(losses({name: jnp.asarray(values) for name, values in hyperparams.items()}))
    found = np.where(np.isfinite(found), found, TOO_LARGE)
    return found[:, -TAIL:].mean(axis=1) < found[:, 0]


def _agreement(one):
    return held(
        one.name,
        f"{one.name}: of {one.sampled.size} cells, half at the boundary, a plain loop finds otherwise",
        SOURCE,
        0,
        one.otherwise,
        max(round(DIFFERENT * one.sampled.size), 1),
        is_absolute=True,
    )


def _note(one, condition):
    told = f"{one.name}: {np.mean(one.mapped.computed):.1%} of the cells computed"
    number = _number_sampled(one.mapped)
    if number > one.sampled.size:
        told += f", {number - one.sampled.size} of {number} sampled ones hang on rounding"
    if one.mapped.audit is not None and not np.all(one.mapped.computed):
        told += f", at most {one.mapped.audit.bound:.2g} of the map wrong at 95 %"
    if one.statistics is not None:
        told += f"; boundary {one.statistics.verdict.value}, {one.statistics.note}"
    if np.isfinite(condition.published):
        told += f"; published dimension {condition.published:g}, median over deep zooms of 4096^2"
    return told
