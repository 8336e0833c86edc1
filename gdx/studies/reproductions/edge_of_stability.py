"""Sharpness against time: it climbs, or is flung down, to 2 / step size and hovers there.

Cohen, Kaur, Li, Kolter and Talwalkar, "Gradient descent on neural networks typically occurs at the edge of
stability", arXiv 2103.00065; for Adam Cohen et al., "Adaptive gradient methods at the edge of stability", arXiv
2207.14484.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.margin import edge_margin
from gdx.observers import Observer
from gdx.problems import layer_scales, mlp
from gdx.problems.base import Problem, problem
from gdx.problems.data import bundled, scale_features
from gdx.progress import Progress, shown
from gdx.records import record
from gdx.responses import curvature_threshold
from gdx.stepping import Family
from gdx.studies.reproductions.base import check_precision, held, share_of, starts
from gdx.studies.verification import Claim
from gdx.sweeps import sweep
from gdx.verdicts import bounded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

COHEN, ADAM = "arXiv 2103.00065", "arXiv 2207.14484"
EVERY = 20
"""Steps between two looks at the sharpness."""
LATE = 0.25
"""Share of a run, at its end, over which a plateau is the median."""
CHEBYSHEV_WIDTHS = (1, 30, 20, 1)
CHEBYSHEV_STEPS, CHEBYSHEV_QUICK = (0.1, 0.2, 0.3, 0.4169, 0.5495), (0.2, 0.4169, 0.5495)
FLUNG, TOO_LARGE = 0.4169, 0.5495
"""Where the sharpness begins above its edge, and where saved runs elsewhere diverged."""
MANY, SOON = 100, 2_000
"""Starts at both, and the steps by which those that diverge have done so."""
RARE = 0.1
"""Share of starts above which an outcome is no exception; which of them a saved run had is unknown."""
EXAMPLES, WIDTH = 250, 32
"""Of the digits, and of both hidden layers that learn them."""
DIGITS_STEPS, ADAM_STEPS = (0.3, 0.45, 0.6), (0.003, 0.004, 0.006)
SMALL_START = 0.5
"""Share of the usual spread of weights on the digits, so that the sharpness begins below the edge."""


@record
class EdgePanel(NamedTuple):
    """One network under one optimizer.

    Examples
    --------
    Continues the example of `gdx.studies.edge_of_stability`.

    >>> panel = found.panels[0]
    >>> panel.sharpness.shape == (len(panel.step_sizes), 2, len(panel.steps))
    True
    """

    name: str
    """Network, data and optimizer."""
    short: str
    """In the names of claims."""
    step_sizes: Float[np.ndarray, " S"]
    """Ascending."""
    threshold: float
    """Critical step size times sharpness: 2 for gradient descent, 38 for Adam."""
    steps: Float[np.ndarray, " T"]
    """At which was looked."""
    sharpness: Float[np.ndarray, "S R T"]
    """Largest eigenvalue of the Hessian, for Adam as its preconditioner bends it; NaN where a run had diverged."""
    loss: Float[np.ndarray, "S R T"]
    """There."""
    is_bounded: Bool[np.ndarray, "S R"]
    """Whether a run stayed finite."""

    @property
    def plateaus(self) -> Float[np.ndarray, "S R"]:
        """Median sharpness over the last quarter; NaN where a run diverged."""
        late = self.sharpness[..., -max(1, round(LATE * len(self.steps))) :]
        return np.where(self.is_bounded, np.median(late, axis=-1), np.nan)

    @property
    def edges(self) -> Float[np.ndarray, " S"]:
        """Sharpness at which each step size is at its edge."""
        return self.threshold / self.step_sizes


@record
class EdgeOfStability(NamedTuple):
    """Sharpness against time, measured.

    Examples
    --------
    Continues the example of `gdx.studies.edge_of_stability`.

    >>> [claim.name for claim in found.claims]
    ['chebyshev-0.2', 'chebyshev-0.4169', 'chebyshev-flung', 'chebyshev-stays', 'chebyshev-diverges']
    """

    panels: tuple[EdgePanel, ...]
    """The polynomial alone where it was to be quick; else also the digits, under gradient descent and Adam."""
    claims: tuple[Claim, ...]
    """Published figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def edge_of_stability(
    *, repeats: int | None = None, quick: bool = False, seed: int = 0, progress: Progress = None
) -> EdgeOfStability:
    """Follow the sharpness of full-batch training at several step sizes.

    A tanh network [30, 20] fits the Chebyshev polynomial of degree 6 at 20 points, started with variance 1 / fan in and
    trained on half the mean square; a tanh network [32, 32] learns 250 of the digits, as one-hot targets, under
    gradient descent and under Adam.

    Parameters
    ----------
    repeats
        Starts of the polynomial, R; by default 10. The digits have two.
    quick
        Whether the polynomial will do, at three step sizes.
    seed
        Of the starts, at least 0.
    progress
        Called as `progress(finished, total)`, panels; by default a bar on a terminal, False for none.

    Returns
    -------
    EdgeOfStability

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.edge_of_stability(repeats=2, quick=True)
    >>> bool(abs(found.panels[0].plateaus[0, 0] / 10 - 1) < 0.05)  # at step size 0.2
    True
    """
    check_precision()
    started = time.perf_counter()
    keys = starts(repeats, 10, seed)
    few = starts(2, 2, seed)
    polynomial = "tanh [30, 20] on a Chebyshev polynomial of degree 6", "chebyshev", chebyshev_regression
    digits = f"tanh [{WIDTH}, {WIDTH}] on {EXAMPLES} digits, squared loss", "digits", small_digits
    jobs: list[tuple[Any, ...]] = [
        (*polynomial, optax.sgd, CHEBYSHEV_QUICK if quick else CHEBYSHEV_STEPS, keys, 10_000)
    ]
    if not quick:
        jobs.append((*digits, optax.sgd, DIGITS_STEPS, few, 2_000))
        jobs.append((digits[0] + ", Adam", "adam", small_digits, optax.adam, ADAM_STEPS, few, 3_000))
    with shown(progress, "panels") as told:
        panels = []
        for job in jobs:
            if told is not None:
                told(len(panels), len(jobs))
            panels.append(_measured(*job))
    many = starts(None, MANY, seed)
    claims = [claim for panel in panels for claim in CLAIMS[panel.short](panel)]
    claims.extend(_divergence(many))
    notes = (
        f"A plateau is the median over the last quarter of a run, looked at every {EVERY} steps; of the starts that "
        "stay bounded the median.",
        "Beyond the sharpness that a start begins with, 2 / eta is reached from above, by a catapult.",
    )
    num_runs = sum(panel.is_bounded.size for panel in panels) + 2 * MANY
    return EdgeOfStability(tuple(panels), tuple(claims), notes, num_runs, time.perf_counter() - started)


def chebyshev_regression() -> Problem:
    """Half the mean square of a tanh network [30, 20] from the Chebyshev polynomial of degree 6 at 20 points.

    Returns
    -------
    Problem
        Weights start at normal(0, 1 / sqrt(fan in)), biases at 0.
    """
    inputs = np.linspace(-1, 1, 20)
    targets = np.polynomial.chebyshev.Chebyshev.basis(6)(inputs)

    def init(key):
        keys = jax.random.split(key, len(CHEBYSHEV_WIDTHS) - 1)
        return tuple(
            {"weights": jax.random.normal(one, (n, m)) / np.sqrt(n), "bias": jnp.zeros(m)}
            for one, n, m in zip(keys, CHEBYSHEV_WIDTHS[:-1], CHEBYSHEV_WIDTHS[1:], strict=True)
        )

    def loss(layers):
        signal = jnp.asarray(inputs)[:, None]
        for at, layer in enumerate(layers):
            signal = signal @ layer["weights"] + layer["bias"][None]
            signal = jnp.tanh(signal) if at < len(layers) - 1 else signal
        return 0.5 * jnp.mean((signal[:, 0] - targets) ** 2)

    return problem(init, loss)


def small_digits() -> Problem:
    """Some of the digits as one-hot targets of a tanh network without biases, started small.

    Returns
    -------
    Problem
    """
    features, labels = bundled("digits")
    data = scale_features(features, "standard")[:EXAMPLES], labels[:EXAMPLES].astype(int)
    scales = layer_scales((64, WIDTH, WIDTH, 10))
    small = scales._replace(spreads=tuple(SMALL_START * spread for spread in scales.spreads))
    return mlp(data, width=WIDTH, depth=2, loss="square", bias=False, scales=small)


def followed(made: Problem, family: Family, num_rows: int) -> Observer:
    """Make an observer that follows the sharpness as `edge_margin` does, and keeps it.

    Parameters
    ----------
    made, family
        What is trained, without batches, and how.
    num_rows
        Looks kept.

    Returns
    -------
    Observer
        Its summary is the sharpness and the loss, [num_rows] each; NaN where a run had ended.
    """

    def loss(params):
        return made.loss(params, made.init(jax.random.key(0))[1], None)[0]

    def watched(step_size):
        return edge_margin(family, step_size, loss, every=EVERY)

    def init(params):
        nothing = jnp.full(num_rows, jnp.nan, jax.tree.leaves(params)[0].dtype)
        # A step size that is traced, as in every update.
        return watched(jnp.ones(())).init(params), nothing, nothing

    def update(seen, view):
        state, sharpness, losses = seen
        state: Any = watched(view.hyperparams).update(view.gradient, state, view.params)[1]
        row = jnp.where(view.step % EVERY == 0, view.step // EVERY, num_rows)
        return (
            state._replace(step_size=seen[0].step_size),
            sharpness.at[row].set(state.sharpness, mode="drop"),
            losses.at[row].set(view.loss, mode="drop"),
        )

    return Observer(init, update, lambda seen: seen[1:])


def _measured(
    name: str,
    short: str,
    make: Callable[[], Problem],
    family: Family,
    step_sizes: Sequence[float],
    keys: Any,
    num_steps: int,
) -> EdgePanel:
    made, num_rows = make(), num_steps // EVERY
    observers = {"edge": followed(made, family, num_rows)}
    total = len(step_sizes) * len(keys)
    run = sweep(made, family, num_steps=num_steps, facts=(), observers=observers, num_runs=total)
    runs = run(np.asarray(step_sizes), keys)
    sharpness, losses = (np.asarray(leaf) for leaf in runs.observed["edge"])
    return EdgePanel(
        name=name,
        short=short,
        step_sizes=np.asarray(step_sizes),
        threshold=float(curvature_threshold(family)),
        steps=np.arange(num_rows) * float(EVERY),
        sharpness=sharpness,
        loss=losses,
        is_bounded=np.asarray(bounded(runs)),
    )


def _plateaus(panel, source, bound):
    for at, step_size in enumerate(panel.step_sizes):
        own = panel.plateaus[at]
        if np.isfinite(own).any():
            yield held(
                f"{panel.short}-{step_size:g}",
                f"{panel.name}: eta {step_size:g} plateaus at {panel.threshold:g} / eta",
                source,
                float(panel.edges[at]),
                float(np.nanmedian(own)),
                bound,
            )


def _of_chebyshev(panel):
    """The plateaus, and the catapult on the way to one."""
    is_small = panel.step_sizes < TOO_LARGE
    small = panel._replace(
        step_sizes=panel.step_sizes[is_small],
        sharpness=panel.sharpness[is_small],
        is_bounded=panel.is_bounded[is_small],
    )
    yield from _plateaus(small, COHEN, 0.03)
    at = int(np.argmin(np.abs(panel.step_sizes - FLUNG)))
    begins, ends = panel.sharpness[at, :, 0], panel.plateaus[at]
    is_above = begins > panel.edges[at]
    flung = share_of((ends < begins)[is_above & np.isfinite(ends)])
    yield held(
        "chebyshev-flung",
        f"at {FLUNG:g} a sharpness that begins above its edge ends lower, a catapult: share of {flung.total} starts",
        COHEN,
        1.0,
        flung.value,
        0.0,
    )


def _divergence(keys):
    """What became of the saved runs elsewhere is no exception among many starts."""
    run = sweep(chebyshev_regression(), optax.sgd, num_steps=SOON, facts=())
    is_bounded = np.asarray(bounded(run(np.array([FLUNG, TOO_LARGE]), keys)))
    for name, step_size, what, did in (
        ("stays", FLUNG, "stays bounded", is_bounded[0]),
        ("diverges", TOO_LARGE, "diverges", ~is_bounded[1]),
    ):
        alike = share_of(did)
        yield held(
            f"chebyshev-{name}",
            f"at {step_size:g} a saved run {what}, no exception: share of {alike.total} starts, at least {RARE:g}",
            COHEN,
            1.0,
            alike.value,
            1 - RARE,
        )


CLAIMS: dict[str, Callable[[EdgePanel], Any]] = {
    "chebyshev": _of_chebyshev,
    "digits": lambda panel: _plateaus(panel, COHEN, 0.05),
    "adam": lambda panel: _plateaus(panel, ADAM, 0.05),
}
