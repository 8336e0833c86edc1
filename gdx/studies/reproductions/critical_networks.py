"""What the picture of the critical step size is measured on: linear networks, networks on the digits, two controls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges.reading import read_edge
from gdx.problems import linear_network, mlp
from gdx.problems.base import Problem, problem
from gdx.problems.data import bundled, scale_features
from gdx.records import record
from gdx.studies.minima import flattest_minimum
from gdx.studies.reproductions.base import Share, share_of
from gdx.sweeps import sweep
from gdx.verdicts import Answer, answers, converged

if TYPE_CHECKING:
    import chex
    from jaxtyping import Bool, Float

HORIZON = 2_000
WELL_BELOW = 0.9
"""Multiples of eta_crit at which most starts must have converged by the horizon."""
SMALLEST, LARGEST = 0.3, 1.0
"""Spread of the weights at the start, times sqrt(width); every start draws its own in between."""
CONDITION = 8.0
"""Of the covariance of inputs that are not whitened."""
UNKNOWN = 0.75
"""Times the critical step size on whitened inputs: what step sizes are multiples of where eta_crit is unknown."""
EXAMPLES, DIGITS_WIDTH, DIGITS_HORIZON = 150, 16, 300
DIGITS_STEPS = np.geomspace(0.05, 100, 28)
HELD_OUT = 1.5
"""Factor above the largest edge of half of the starts from which none of the others may train."""
CONTROL_STEPS, CONTROL_HORIZON = np.geomspace(1e-1, 1e4, 11), 20_000
GONE = 1e-2
"""Gradient norm, of losses whose gradients are about 1 at first, at or below which a control has none left."""


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
    """Mean over the tail."""
    bound: float
    """At or below which it counts as gone."""


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
    teacher = jnp.diag(singular_values(width))

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


def singular_values(width: int) -> Float[np.ndarray, " W"]:
    """Of the teacher.

    Parameters
    ----------
    width
        How many.

    Returns
    -------
    array
    """
    return np.linspace(1.0, 0.5, width)


def linear_panel(depth: int, width: int, is_whitened: bool, multiples: Any, keys: chex.PRNGKey) -> LinearPanel:
    """Sweep a linear network across its eta_crit.

    Parameters
    ----------
    depth, width, is_whitened
        As in `linear_problem`.
    multiples
        Of eta_crit, ascending.
    keys
        Typed keys [R].

    Returns
    -------
    LinearPanel
    """
    made, note = linear_problem(depth, width, is_whitened), ""
    if is_whitened:
        same = linear_network([width] * (depth + 1), singular_values=singular_values(width).tolist())
        eta_crit = 2 / same.known.min_sharpness if same.known and same.known.min_sharpness else math.nan
    else:
        found = flattest_minimum(made, keys[:3], progress=None)
        eta_crit, note = 2 / found.sharpness, found.note
    step_sizes = multiples * (UNKNOWN * 2 / depth if math.isnan(eta_crit) else eta_crit)
    runs = sweep(made, optax.sgd, num_steps=HORIZON, facts=("gradient",))(step_sizes, keys)
    norms, is_at_rest = np.asarray(runs.tail_gradient_norm_mean), np.asarray(converged(runs))
    return LinearPanel(depth, width, is_whitened, eta_crit, step_sizes, norms, is_at_rest, note)


def digits_panel(activation: str, loss: str, depth: int, keys: chex.PRNGKey) -> DigitsPanel:
    """Sweep a network on some of the digits across the edges of its starts.

    Parameters
    ----------
    activation, loss, depth
        Of the network; the depth counts weight matrices.
    keys
        Typed keys [R].

    Returns
    -------
    DigitsPanel
    """
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
        trains=said == Answer.MET,
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


def controls(keys: chex.PRNGKey) -> tuple[Control, ...]:
    """Sweep the losses that have no critical step size.

    Parameters
    ----------
    keys
        Typed keys [R].

    Returns
    -------
    tuple of Control
    """
    found = []
    for name, made in (
        ("scale-invariant loss, 1 - w1 / |w|", scale_invariant()),
        ("separable logistic regression", separable_logistic()),
    ):
        run = sweep(made, optax.sgd, num_steps=CONTROL_HORIZON, facts=("gradient",), blow_up_factor=1e12)
        runs = run(CONTROL_STEPS, keys)
        # Not relative to the first, which is small already where a start happens to separate the classes.
        found.append(Control(name, CONTROL_STEPS, np.asarray(runs.tail_gradient_norm_mean), GONE))
    return tuple(found)
