"""Lazy, catapult, divergence: what a wide two-layer linear network does at twice and four times 1 / curvature.

Lewkowycz, Bahri, Dyer, Sohl-Dickstein and Gur-Ari, "The large learning rate phase of deep learning: the catapult
mechanism", arXiv 2003.02218.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.observers import ever_rose, last_params
from gdx.problems.base import Problem, problem
from gdx.progress import Progress, shown
from gdx.records import record
from gdx.studies.reproductions.base import check_precision, held, kept, share_of, starts
from gdx.studies.verification import Claim
from gdx.sweeps import sweep
from gdx.verdicts import bounded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SOURCE = "arXiv 2003.02218"
NUM_STEPS = 300
"""The horizon; a catapult is over after some thirty steps."""
SHOWN_STEPS = 60
SHOWN_AT = (1.0, 2.6, 3.6, 4.4)
"""Step sizes, times the curvature at the start, whose losses are drawn."""
LAZY, FLUNG = (0.5, 1.9), (2.4, 3.7)
"""Multiples that lie well inside the two phases of the networks here."""


@record
class CatapultNetwork(NamedTuple):
    """One network at many step sizes, from many starts.

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> single = found.networks[0]
    >>> single.rose.shape == single.is_bounded.shape == (len(single.multiples), 4)
    True
    """

    name: str
    """What it learns."""
    multiples: Float[np.ndarray, " S"]
    """Step size times curvature at the start, ascending."""
    rose: Bool[np.ndarray, "S R"]
    """Whether the loss rose from any step to the next."""
    is_bounded: Bool[np.ndarray, "S R"]
    """Whether it came down again, or never rose."""
    curvature: Float[np.ndarray, "S R"]
    """Where a run ends, over that where it starts; NaN where it diverged."""
    curves: Float[np.ndarray, "S T"]
    """Loss of the first start over its first steps, relative to the first one."""

    @property
    def lazy_up_to(self) -> Float[np.ndarray, " R"]:
        """Where losses begin to rise, of every start: middle of the two multiples between which it happens."""
        return _first(self.multiples, self.rose | ~self.is_bounded)

    @property
    def bounded_up_to(self) -> Float[np.ndarray, " R"]:
        """Where runs begin to diverge, likewise."""
        return _first(self.multiples, ~self.is_bounded)


@record
class Catapult(NamedTuple):
    """The three phases, measured.

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> [claim.name for claim in found.claims][:2], all(claim.passed for claim in found.claims)
    (['lazy-one', 'divergence-one'], True)
    """

    networks: tuple[CatapultNetwork, ...]
    """With one example, where both boundaries are exact in the limit of infinite width, and with several."""
    claims: tuple[Claim, ...]
    """Published figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def catapult(*, repeats: int | None = None, quick: bool = False, seed: int = 0, progress: Progress = None) -> Catapult:
    """Sweep wide two-layer linear networks across their three phases.

    Below 2 / lambda the loss of gradient descent falls and curvature hardly changes, lambda the largest curvature at
    the start; up to about 4 / lambda the loss first rises, and falls where curvature has come down enough; beyond, it
    diverges. With one example whose target is 0 the last boundary is exact at any width.

    Parameters
    ----------
    repeats
        Starts, R; by default 32, or 8 where it is to be quick.
    quick
        Whether a coarser grid of step sizes will do.
    seed
        Of the starts, at least 0.
    progress
        Called as `progress(finished, total)`, networks; by default a bar on a terminal, False for none.

    Returns
    -------
    Catapult

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> found = gdx.studies.catapult(repeats=4, quick=True)
    >>> single = found.networks[0]
    >>> [round(float(np.median(edge))) for edge in (single.lazy_up_to, single.bounded_up_to)]
    [2, 4]
    """
    check_precision()
    started = time.perf_counter()
    keys = starts(repeats, 8 if quick else 32, seed)
    spacing = 0.05 if quick else 0.02
    # Off round numbers: at exactly 2 and 4 nothing is decided.
    multiples = np.arange(0.5, 5.5, spacing) + spacing / 3
    with shown(progress, "networks") as told:
        networks = []
        for name, inputs, targets, width in _data():
            if told is not None:
                told(len(networks), 2)
            networks.append(_measured(name, *network(inputs, targets, width), multiples, keys))
    claims = (*_claims_of(networks[0], "one", 0.02, 0.01), *_claims_of(networks[1], "several", 0.1, 0.15))
    notes = (
        "Curvature is the top eigenvalue of the tangent kernel over the number of examples, which is that of the "
        "Hessian wherever the loss is 0; starts are scaled so that it is 1.",
        "Boundaries lie in the middle between two neighbouring step sizes, "
        f"{spacing:g} / lambda apart; the median of all starts is held against the figure.",
    )
    num_runs = sum(one.rose.size for one in networks)
    return Catapult(tuple(networks), claims, notes, num_runs, time.perf_counter() - started)


def network(inputs: Any, targets: Any, width: int) -> tuple[Problem, Callable[[Any], jax.Array]]:
    """Half the mean squared error of v . U x / sqrt(width d), started at curvature 1.

    Parameters
    ----------
    inputs, targets
        [M, d] and [M].
    width
        Of the hidden layer.

    Returns
    -------
    Problem, callable
        And `params -> top eigenvalue of the tangent kernel over M`.
    """
    inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)
    num_examples, size = inputs.shape
    root = np.sqrt(width * size)

    def top(params):
        hidden = inputs @ params["u"]
        kernel = hidden @ hidden.T + (inputs @ inputs.T) * jnp.sum(params["v"] ** 2)
        return jnp.linalg.eigvalsh(kernel)[-1] / (root**2 * num_examples)

    def init(key):
        of_u, of_v = jax.random.split(key)
        params = {"u": jax.random.normal(of_u, (size, width)), "v": jax.random.normal(of_v, (width,))}
        # The kernel is quadratic in the parameters.
        scale = 1 / jnp.sqrt(top(params))
        return jax.tree.map(lambda leaf: scale * leaf, params)

    def loss(params):
        return 0.5 * jnp.mean(((inputs @ params["u"]) @ params["v"] / root - targets) ** 2)

    return problem(init, loss), top


def _data():
    """Name, inputs, targets and width of the two networks."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(10, 5))
    yield "one example, target 0, width 512", np.ones((1, 1)), np.zeros(1), 512
    yield "10 examples of a linear teacher, width 256", inputs, 0.3 * inputs @ rng.normal(size=5), 256


def _measured(name, made, top, multiples, keys):
    ends = last_params._replace(summarise=top)
    observers = {"rose": ever_rose, "curvature": ends, "loss": kept(lambda view: view.loss, SHOWN_STEPS)}
    run = sweep(made, optax.sgd, num_steps=NUM_STEPS, facts=("gradient",), observers=observers)
    runs = run(multiples, keys)
    is_bounded = np.asarray(bounded(runs))
    return CatapultNetwork(
        name=name,
        multiples=multiples,
        rose=np.asarray(runs.observed["rose"]),
        is_bounded=is_bounded,
        curvature=np.where(is_bounded, np.asarray(runs.observed["curvature"]), np.nan),
        curves=np.asarray(runs.observed["loss"])[:, 0] / np.asarray(runs.first_loss)[:, :1],
    )


def _first(multiples, did):
    """Where something first happens, of every start; NaN where it does at once or never."""
    at = np.argmax(did, axis=0)
    middle = np.append(0.5 * (multiples[1:] + multiples[:-1]), np.nan)
    return np.where(did.any(axis=0) & (at > 0), middle[at - 1], np.nan)


def _claims_of(one: CatapultNetwork, short: str, lower: float, upper: float):
    what = one.name.partition(",")[0]
    flung = one.curvature[_inside(one.multiples, FLUNG)]
    steps = one.multiples[_inside(one.multiples, FLUNG)][:, None]
    lazy = one.curvature[_inside(one.multiples, LAZY)]
    below = share_of(flung[np.isfinite(flung)] < 1)
    stable = share_of((flung * steps)[np.isfinite(flung)] < 2)
    yield held(
        f"lazy-{short}",
        f"{what}: the loss begins to rise at eta lambda",
        SOURCE,
        2.0,
        float(np.median(one.lazy_up_to)),
        lower,
    )
    yield held(
        f"divergence-{short}",
        f"{what}: runs begin to diverge at eta lambda of about",
        SOURCE,
        4.0,
        float(np.median(one.bounded_up_to)),
        upper,
    )
    yield held(
        f"lazy-curvature-{short}",
        f"{what}: below, curvature stays what it was; last over first, median",
        SOURCE,
        1.0,
        float(np.nanmedian(lazy)),
        0.05,
    )
    yield held(
        f"flatter-{short}",
        f"{what}: between, it ends lower than it began, of {below.total} catapults the share",
        SOURCE,
        1.0,
        below.value,
        0.0,
    )
    yield held(
        f"stable-{short}",
        f"{what}: and below 2 / eta, of these the share",
        SOURCE,
        1.0,
        stable.value,
        0.0,
    )


def _inside(multiples, ends):
    return (multiples > ends[0]) & (multiples < ends[1])
