"""The asymptotic gradient norm against the step size: nothing converges above eta_crit, whatever the start.

Craciun and Ghoshdastidar, "On the Convergence of Gradient Descent for Large Learning Rates", arXiv 2402.13108.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges.reading import read_edge
from gdx.problems import linear_network, mlp
from gdx.problems.base import Problem, problem
from gdx.problems.data import bundled, scale_features
from gdx.progress import Progress, shown
from gdx.records import record
from gdx.studies.minima import flattest_minimum
from gdx.studies.reproductions.base import Share, check_precision, held, share_of
from gdx.studies.verification import Claim
from gdx.sweeps import sweep
from gdx.verdicts import answers, converged

if TYPE_CHECKING:
    import chex
    from jaxtyping import Bool, Float

SOURCE = "arXiv 2402.13108"
HORIZON = 2_000
MULTIPLES = (0.3, 0.5, 0.65, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985, 1.01, 1.02, 1.04, 1.07, 1.11, 1.16, 1.22, 1.3)
QUICK_MULTIPLES = (0.5, 0.8, 0.92, 0.97, 1.01, 1.05, 1.16)
"""Of eta_crit; none is 1, where starts take for ever."""
WELL_BELOW = 0.9
"""Multiples at which most starts must have converged by the horizon."""
NEAR = 0.1
"""Distance of the last success from eta_crit that a finite run may see: below it gradient descent creeps along the
valley to minima that are flat enough."""
SMALLEST, LARGEST = 0.3, 1.0
"""Spread of the weights at the start, times sqrt(width); every start draws its own in between."""
CONDITION = 8.0
"""Of the covariance of inputs that are not whitened."""
WHITENED = tuple(itertools.product((2, 3, 4), (3, 8, 16)))
NOT_WHITENED = ((2, 3), (2, 5), (3, 3), (4, 3), (3, 16))
QUICK = ((2, 8, True), (3, 3, True), (2, 3, False))
"""Depth, width, whether inputs are whitened."""
UNKNOWN = 1.5
"""Times the critical step size on whitened inputs: what step sizes are multiples of where eta_crit is unknown."""
ACTIVATIONS, LOSSES, DEPTHS = ("tanh", "relu", "gelu"), ("square", "cross-entropy"), (2, 3, 4)
EXAMPLES, DIGITS_WIDTH, DIGITS_HORIZON = 150, 16, 300
DIGITS_STEPS = np.geomspace(0.02, 30, 20)
HELD_OUT = 1.5
"""Factor above the largest edge of half of the starts from which none of the others may train."""


@record
class LinearPanel(NamedTuple):
    """One linear network at many step sizes, from many starts.

    Examples
    --------
    Continues the example of `gdx.studies.critical_step`.

    >>> panel = found.linear[0]
    >>> panel.depth, panel.width, panel.is_whitened, panel.eta_crit, panel.above.number
    (2, 8, True, 1.0, 0)
    """

    depth: int
    """Number of matrices."""
    width: int
    """Of all layers."""
    is_whitened: bool
    """Whether the covariance of inputs is the identity."""
    eta_crit: float
    """2 over the sharpness of the flattest minimum; NaN where none is known."""
    step_sizes: Float[np.ndarray, " S"]
    """Ascending."""
    gradient_norm: Float[np.ndarray, "S R"]
    """Mean over the tail; NaN where a run diverged."""
    converged: Bool[np.ndarray, "S R"]
    """Whether it is at rest."""
    note: str
    """Why there is no eta_crit, where there is none."""

    @property
    def above(self) -> Share:
        """Runs above eta_crit that converged, of all there."""
        return share_of(self.converged[self.step_sizes > self.eta_crit])

    @property
    def below(self) -> Share:
        """Runs well below it that did."""
        return share_of(self.converged[self.step_sizes < WELL_BELOW * self.eta_crit])

    @property
    def last_success(self) -> float:
        """Largest step size at which any run converged; NaN for none."""
        some = self.step_sizes[self.converged.any(axis=1)]
        return float(some[-1]) if some.size else math.nan


@record
class DigitsPanel(NamedTuple):
    """One network on the digits.

    Examples
    --------
    Continues the example of `gdx.studies.critical_step`.

    >>> panel = found.digits[0]
    >>> panel.activation, panel.loss, panel.depth, panel.edges.shape
    ('tanh', 'square', 2, (6,))
    """

    activation: str
    """Of the hidden layers."""
    loss: str
    """Square or cross-entropy."""
    depth: int
    """Number of weight matrices."""
    step_sizes: Float[np.ndarray, " S"]
    """Ascending."""
    gradient_norm: Float[np.ndarray, "S R"]
    """Mean over the tail; NaN where a run diverged."""
    trains: Bool[np.ndarray, "S R"]
    """By `gdx.trains`."""
    edges: Float[np.ndarray, " R"]
    """Where each start stops training: middle of its first failure's bracket; NaN where it never trained or failed."""

    @property
    def spread(self) -> float:
        """Largest edge of a start over the smallest."""
        return float(np.nanmax(self.edges) / np.nanmin(self.edges)) if np.isfinite(self.edges).any() else math.nan

    @property
    def held_out(self) -> Share:
        """Runs of every second start that train further above the largest edge of the others than `HELD_OUT`."""
        largest = np.nanmax(self.edges[::2]) if np.isfinite(self.edges[::2]).any() else np.inf
        return share_of(self.trains[self.step_sizes > HELD_OUT * largest, 1::2])


@record
class Control(NamedTuple):
    """A loss without a critical step size.

    Examples
    --------
    Continues the example of `gdx.studies.critical_step`.

    >>> [control.name for control in found.controls]
    ['scale-invariant loss, 1 - w1 / |w|', 'separable logistic regression']
    """

    name: str
    """What is minimised."""
    step_sizes: Float[np.ndarray, " S"]
    """Ascending."""
    gradient_norm: Float[np.ndarray, "S R"]
    """Mean over the tail, relative to the first."""
    bound: float
    """At or below which it counts as gone."""


@record
class CriticalStep(NamedTuple):
    """The picture of the critical step size, measured.

    Examples
    --------
    Continues the example of `gdx.studies.critical_step`.

    >>> found.claims[0].measured, all(claim.passed for claim in found.claims)
    (0.0, True)
    """

    linear: tuple[LinearPanel, ...]
    """Linear networks, whitened ones first."""
    digits: tuple[DigitsPanel, ...]
    """Networks on the digits."""
    controls: tuple[Control, ...]
    """Losses without one."""
    claims: tuple[Claim, ...]
    """Published figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known, networks without a check among it."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def critical_step(
    *, repeats: int | None = None, quick: bool = False, seed: int = 0, progress: Progress = None
) -> CriticalStep:
    """Sweep linear networks across eta_crit, networks on the digits across theirs, and two losses that have none.

    eta_crit is 2 over the smallest sharpness of any minimum: in closed form where inputs are whitened, by
    `gdx.studies.flattest_minimum` where they are not. A linear network that is too large for that is run without a
    check.

    Parameters
    ----------
    repeats
        Starts of the linear networks, R; by default 200, or 100 where it is to be quick. The digits have six.
    quick
        Whether three linear networks and one on the digits will do.
    seed
        Of the starts, at least 0.
    progress
        Called as `progress(finished, total)`, networks; by default a bar on a terminal, False for none.

    Returns
    -------
    CriticalStep

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.critical_step(repeats=20, quick=True)
    >>> found.linear[0].above.number  # of all runs above eta_crit
    0
    """
    check_precision()
    started = time.perf_counter()
    keys = jax.random.split(jax.random.key(seed), repeats or (100 if quick else 200))
    few = jax.random.split(jax.random.key(seed), 6)
    wanted = QUICK if quick else (*((*one, True) for one in WHITENED), *((*one, False) for one in NOT_WHITENED))
    multiples = np.asarray(QUICK_MULTIPLES if quick else MULTIPLES)
    kinds = list(itertools.product(ACTIVATIONS, LOSSES, DEPTHS))[: 1 if quick else None]
    total, linear, digits = len(wanted) + len(kinds) + 1, [], []
    with shown(progress, "networks") as told:

        def tell():
            if told is not None:
                told(len(linear) + len(digits), total)

        for depth, width, is_whitened in wanted:
            tell()
            linear.append(_linear(depth, width, is_whitened, multiples, keys))
        for kind in kinds:
            tell()
            digits.append(_digits(*kind, few))
        tell()
        controls = _controls(few)
    claims = (*_of_linear(linear), *_of_digits(digits), *_of_controls(controls))
    sizes = [one.gradient_norm.size for one in (*linear, *digits, *controls)]
    return CriticalStep(
        tuple(linear),
        tuple(digits),
        controls,
        claims,
        tuple(_notes(linear)),
        sum(sizes),
        time.perf_counter() - started,
    )


def linear_problem(depth: int, width: int, is_whitened: bool) -> Problem:
    """Half the mean square of a deep linear network from a teacher, from generic starts of many sizes.

    Parameters
    ----------
    depth, width
        Number of matrices, and their size.
    is_whitened
        Whether inputs have covariance 1; otherwise one of condition 8 along random directions.

    Returns
    -------
    Problem
        The teacher has singular values from 1 down to 1/2, so that every mode converges.
    """
    rng = np.random.default_rng(0)
    directions, _ = np.linalg.qr(rng.normal(size=(width, width)))
    spectrum = np.ones(width) if is_whitened else np.geomspace(2.0, 2.0 / CONDITION, width)
    root = jnp.asarray(directions * np.sqrt(spectrum))
    teacher = jnp.diag(_singular_values(width))

    def init(key):
        of_size, *of_layers = jax.random.split(key, depth + 1)
        size = jnp.exp(jax.random.uniform(of_size, (), minval=math.log(SMALLEST), maxval=math.log(LARGEST)))
        return tuple(size * jax.random.normal(one, (width, width)) / math.sqrt(width) for one in of_layers)

    def loss(matrices):
        product = matrices[0]
        for matrix in matrices[1:]:
            product = matrix @ product
        return 0.5 * jnp.sum(((product - teacher) @ root) ** 2)

    return problem(init, loss)


def _singular_values(width):
    return np.linspace(1.0, 0.5, width)


def _linear(depth: int, width: int, is_whitened: bool, multiples, keys: chex.PRNGKey) -> LinearPanel:
    made, note = linear_problem(depth, width, is_whitened), ""
    if is_whitened:
        same = linear_network([width] * (depth + 1), singular_values=_singular_values(width))
        eta_crit = 2 / same.known.min_sharpness if same.known and same.known.min_sharpness else math.nan
    else:
        found = flattest_minimum(made, keys[:3], progress=None)
        eta_crit, note = 2 / found.sharpness, found.note
    step_sizes = multiples * (UNKNOWN * 2 / depth if math.isnan(eta_crit) else eta_crit)
    runs = sweep(made, optax.sgd, num_steps=HORIZON, facts=("gradient",))(step_sizes, keys)
    norms, is_at_rest = np.asarray(runs.tail_gradient_norm_mean), np.asarray(converged(runs))
    return LinearPanel(depth, width, is_whitened, eta_crit, step_sizes, norms, is_at_rest, note)


def _digits(activation: str, loss: str, depth: int, keys: chex.PRNGKey) -> DigitsPanel:
    features, labels = bundled("digits")
    data = scale_features(features, "standard")[:EXAMPLES], labels[:EXAMPLES].astype(int)
    made = mlp(data, width=DIGITS_WIDTH, depth=depth - 1, activation=activation, loss=loss)
    runs = sweep(made, optax.sgd, num_steps=DIGITS_HORIZON, facts=("gradient",))(DIGITS_STEPS, keys)
    said = np.asarray(answers(runs, "trains"))
    edges = [read_edge(DIGITS_STEPS, said[:, [at]], "trains").first_failure for at in range(said.shape[1])]
    return DigitsPanel(
        activation=activation,
        loss=loss,
        depth=depth,
        step_sizes=DIGITS_STEPS,
        gradient_norm=np.asarray(runs.tail_gradient_norm_mean),
        trains=said == 1,
        edges=np.asarray([math.sqrt(one.lower * one.upper) if one.lower > 0 else math.nan for one in edges]),
    )


def scale_invariant() -> Problem:
    """1 - w1 / |w| in five dimensions, which a longer w only makes flatter.

    Returns
    -------
    Problem
    """
    return problem(lambda key: jax.random.normal(key, (5,)), lambda w: 1 - w[0] / jnp.linalg.norm(w))


def separable_logistic() -> Problem:
    """Logistic regression on forty separable points of the plane, whose infimum 0 is at infinity.

    Returns
    -------
    Problem
    """
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(40) < 20, 1.0, -1.0)
    points = rng.normal(size=(40, 2)) * 0.5 + labels[:, None] * np.array([[1.0, 1.0]])
    # Pushed apart until no point is nearer than this to the line between.
    gap = labels * (points @ np.ones(2))
    points = points + (labels * np.maximum(0.4 - gap, 0) / 2)[:, None]
    signed = jnp.asarray(labels[:, None] * points)
    return problem(lambda key: jax.random.normal(key, (2,)), lambda w: jnp.mean(jnp.logaddexp(0.0, -signed @ w)))


def _controls(keys) -> tuple[Control, ...]:
    found = []
    for name, made, step_sizes, bound in (
        ("scale-invariant loss, 1 - w1 / |w|", scale_invariant(), np.geomspace(1e-1, 1e4, 11), 1e-2),
        ("separable logistic regression", separable_logistic(), np.geomspace(1e-1, 1e4, 11), 1e-2),
    ):
        runs = sweep(made, optax.sgd, num_steps=20_000, facts=("gradient",), blow_up_factor=1e12)(step_sizes, keys)
        relative = np.asarray(runs.tail_gradient_norm_mean) / np.asarray(runs.first_gradient_norm)
        found.append(Control(name, step_sizes, relative, bound))
    return tuple(found)


def _of_linear(panels: Sequence[LinearPanel]):
    for one in panels:
        if math.isnan(one.eta_crit):
            continue
        kind = "whitened" if one.is_whitened else "not whitened"
        name = f"{'whitened' if one.is_whitened else 'raw'}-{one.depth}x{one.width}"
        what = f"linear, depth {one.depth}, width {one.width}, {kind}"
        above, below = one.above, one.below
        yield held(
            f"{name}-above",
            f"{what}: converge above eta_crit, of {above.total} runs",
            SOURCE,
            0.0,
            above.number,
            0.0,
            is_absolute=True,
        )
        yield held(
            f"{name}-below",
            f"{what}: most do below {WELL_BELOW:g} of it; share of {below.total}, at least half",
            SOURCE,
            1.0,
            below.value,
            0.5,
        )
        yield held(
            f"{name}-last", f"{what}: largest step size at which any does", SOURCE, one.eta_crit, one.last_success, NEAR
        )


def _of_digits(panels: Sequence[DigitsPanel]):
    for loss in dict.fromkeys(one.loss for one in panels):
        mine = [one for one in panels if one.loss == loss]
        number, total = (sum(part) for part in zip(*(one.held_out for one in mine), strict=True))
        yield held(
            f"digits-{loss}",
            f"digits, {loss}, {len(mine)} networks: train above {HELD_OUT:g} times the largest edge of other starts, "
            f"of {total} runs",
            SOURCE,
            0.0,
            number,
            0.0,
            is_absolute=True,
        )


def _of_controls(controls: Sequence[Control]):
    for one in controls:
        still = share_of(~(one.gradient_norm <= one.bound))
        yield held(
            f"control-{one.name.partition(' ')[0]}",
            f"{one.name}: no critical step size, {one.step_sizes[0]:g} to {one.step_sizes[-1]:g}; keep over "
            f"{one.bound:g} of the gradient, of {still.total} runs",
            SOURCE,
            0.0,
            still.number,
            0.0,
            is_absolute=True,
        )


def _notes(linear):
    yield (
        f"{HORIZON} steps; converged is a gradient at most 1e-6 of the first over the last 64. Starts are normal, of "
        f"spread {SMALLEST:g} to {LARGEST:g} over sqrt(width); those that are far away may diverge below eta_crit, too."
    )
    for one in linear:
        if one.note:
            yield (
                f"linear, depth {one.depth}, width {one.width}, not whitened: without a check, since its flattest "
                f"minimum is unknown ({one.note}); the last of its step sizes at which any run converged is "
                f"{one.last_success:.4g} of up to {one.step_sizes[-1]:.4g}"
            )
