"""Several optimizers from one start on one landscape, each at a step size that suits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.problems import Landscape
from gdx.progress import Progress, shows_progress
from gdx.records import record
from gdx.stepping import Family
from gdx.studies.trajectory import trajectory
from gdx.sweeps.inputs import check_horizon, check_memory

if TYPE_CHECKING:
    from jaxtyping import Float

STEP_SIZES = tuple(float(f"{digit}e{power}") for power in range(-5, 2) for digit in (1, 1.5, 2, 3, 5, 7))
"""What is tried where a step size is left open; round numbers, since they are read."""
STRIDE = 0.1
"""Longest step inside the window that an eye can follow, as a share of the window's diagonal."""
FLOOR = 1e-12
"""Loss above the minimum, relative to the start's, below which nothing is told apart."""
SURFACE_POINTS = 201


@record
class Contestant(NamedTuple):
    """An optimizer to compare.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.studies.Contestant("sgd", optax.sgd, 0.05).step_size
    0.05
    """

    name: str
    """In the picture and the table."""
    family: Family
    """`step_size -> optax transformation`."""
    step_size: float | None = None
    """None to have it chosen."""


@record
class Path(NamedTuple):
    """One optimizer's way.

    Examples
    --------
    Continues the example of `gdx.studies.compare`.

    >>> found.paths[0].label, found.paths[0].params.shape, found.paths[0].left_at
    ('sgd, step 0.02', (51, 2), None)
    """

    name: str
    """Of the optimizer."""
    step_size: float
    """Given or chosen."""
    params: Float[np.ndarray, "T+1 2"]
    """From the start to after the last step."""
    loss: Float[np.ndarray, " T+1"]
    """At each of them."""
    height: Float[np.ndarray, " T+1"]
    """Loss above the minimum, not below `FLOOR` times the start's; on a landscape without a minimum the loss itself."""
    left_at: int | None
    """First step that led out of the window; None for a run that never left it."""
    nonfinite_at: int | None
    """First step after which the loss or a parameter was no longer finite."""

    @property
    def label(self) -> str:
        """The optimizer and its step size."""
        return f"{self.name}, step {self.step_size:g}"


@record
class Comparison(NamedTuple):
    """Everything that a picture of the paths needs.

    Examples
    --------
    Continues the example of `gdx.studies.compare`.

    >>> found.landscape.name, found.num_steps, len(found.paths)
    ('ravine', 50, 2)
    """

    landscape: Landscape
    """What the paths lead over."""
    start: tuple[float, float]
    """Where all of them begin."""
    num_steps: int
    """Steps of every path, T."""
    paths: tuple[Path, ...]
    """One an optimizer."""
    x: Float[np.ndarray, " G"]
    """Grid lines of the window."""
    y: Float[np.ndarray, " G"]
    """Grid lines of the window."""
    surface: Float[np.ndarray, "G G"]
    """Height at every y (rows) and x (columns) of the window."""
    minimum: float | None
    """Of the loss; None where it has none."""


@shows_progress("optimizers")
def compare(
    landscape: Landscape,
    contestants: Sequence[Contestant],
    *,
    num_steps: int | None = None,
    start: Sequence[float] | None = None,
    progress: Progress = None,
) -> Comparison:
    """Run several optimizers from one start, and keep every step.

    Where a step size is left open, all of `STEP_SIZES` are run, and the one is taken whose curve of log height
    against step lies lowest on average: neither the fastest beginning nor the best end, but both. On a landscape
    without a minimum the average is of the loss within the window. Steps longer than `STRIDE` inside the window rule a
    step size out, since nobody could follow them, and so does a loss that stops being finite while it matters.

    Parameters
    ----------
    landscape
        One of `gdx.problems.landscape_catalogue()`, or your own.
    contestants
        Optimizers in the order of the legend.
    num_steps
        Updates to make, T; by default the landscape's.
    start
        [2], inside the window; by default the landscape's.
    progress
        Called as `progress(finished, total)` after every optimizer; by default a bar on a terminal, False for none.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    A step size chosen on the very run that is shown flatters every method alike. It says what a method can do on this
    landscape, not what it does untuned.

    Examples
    --------
    >>> import optax, gdx
    >>> contestants = [gdx.studies.Contestant(name, gdx.optimizers.family(name), 0.02) for name in ("sgd", "momentum")]
    >>> found = gdx.studies.compare(gdx.problems.landscape_catalogue()["ravine"], contestants, num_steps=50)
    >>> [bool(path.loss[-1] < path.loss[0]) for path in found.paths]
    [True, True]
    """
    num_steps = check_horizon("num_steps", landscape.num_steps if num_steps is None else num_steps, "pass a number")
    # Of every path the place, the loss and the gradient norm.
    kept = num_steps * len(STEP_SIZES) * 4 * jnp.result_type(float).itemsize
    check_memory(f"num_steps: {num_steps} steps, all of which are kept,", kept, "pass fewer of them")
    start = _check_start(landscape, landscape.start if start is None else start)
    _check_contestants(contestants)
    problem = landscape.make(start=start)
    minimum = None if problem.known is None else problem.known.minimum
    x, y = (np.linspace(*ends, SURFACE_POINTS) for ends in (landscape.window[:2], landscape.window[2:]))
    corners = jnp.stack(jnp.meshgrid(jnp.asarray(x), jnp.asarray(y)), axis=-1)
    surface = np.asarray(jax.jit(jax.vmap(jax.vmap(lambda w: problem.loss(w, (), None)[0])))(corners), float)
    paths = []
    for contestant in contestants:
        candidates = _run_all(problem, contestant, landscape.window, minimum, num_steps)
        paths.append(min(candidates, key=lambda path: _cost(path, landscape.window, surface, minimum)))
        if callable(progress):
            progress(len(paths), len(contestants))
    return Comparison(landscape, start, num_steps, tuple(paths), x, y, surface, minimum)


def _check_start(landscape, start):
    left, right, bottom, top = landscape.window
    if len(start) != 2 or not (left <= start[0] <= right and bottom <= start[1] <= top):
        point = ", ".join(f"{value:g}" for value in start)
        raise ValueError(
            f"start: ({point}) is outside the window, x in [{left:g}, {right:g}] and y in [{bottom:g}, {top:g}]; "
            "pass a point in it"
        )
    return float(start[0]), float(start[1])


def _check_contestants(contestants):
    if not contestants:
        raise ValueError("contestants: there are none; pass at least one optimizer")
    seen = set()
    for contestant in contestants:
        name, step_size = contestant.name, contestant.step_size
        if step_size is not None and not (np.isfinite(step_size) and step_size > 0):
            raise ValueError(f"step_size: {step_size} of {name} is outside (0, inf); leave it out to have it chosen")
        if (name, step_size) in seen:
            raise ValueError(f"contestants: {name} stands there twice; give each its own step size, as in {name}=0.1")
        seen.add((name, step_size))


def _run_all(problem, contestant, window, minimum, num_steps):
    """Run one optimizer at all its candidate step sizes at once, one compilation for them all."""
    step_sizes = STEP_SIZES if contestant.step_size is None else (contestant.step_size,)
    key = jax.random.key(0)

    def run(step_size):
        return trajectory(problem, contestant.family(step_size), key, num_steps=num_steps)

    found = jax.jit(jax.vmap(run))(jnp.asarray(step_sizes, jnp.result_type(float)))
    params, losses = np.asarray(found.params, float), np.asarray(found.loss, float)
    return [
        _path(contestant.name, step_size, params[i], losses[i], window, minimum)
        for i, step_size in enumerate(step_sizes)
    ]


def _path(name, step_size, params, loss, window, minimum):
    is_finite = np.isfinite(loss) & np.isfinite(params).all(axis=1)
    height = loss
    if minimum is not None:
        above = loss - minimum
        height = np.maximum(above, FLOOR * (above[0] or 1.0))
    return Path(name, step_size, params, loss, height, _first(~_is_inside(params, window)), _first(~is_finite))


def _cost(path, window, surface, minimum):
    """Average height of the curve that will be drawn, infinite for one that could not be followed."""
    left, right, bottom, top = window
    until = len(path.loss)
    if minimum is None and path.left_at is not None:
        # Beyond the window a loss without a bound says nothing more.
        until = path.left_at + 1
    inside = _is_inside(path.params, window)[: until - 1]
    with np.errstate(over="ignore", invalid="ignore"):
        moves = np.linalg.norm(np.diff(path.params[:until], axis=0), axis=1)
    is_followed = not np.any(moves[inside] > STRIDE * np.hypot(right - left, top - bottom))
    is_finite = path.nonfinite_at is None or path.nonfinite_at >= until
    if not (is_followed and is_finite):
        return np.inf
    if minimum is not None:
        return float(np.mean(np.log10(path.height)))
    shown = np.clip(path.loss[:until], surface.min(), surface.max())
    return float(np.mean(np.append(shown, np.full(len(path.loss) - until, shown[-1]))))


def _is_inside(params, window):
    left, right, bottom, top = window
    x, y = params[:, 0], params[:, 1]
    return (left <= x) & (x <= right) & (bottom <= y) & (y <= top)


def _first(mask):
    return int(np.argmax(mask)) if mask.any() else None
