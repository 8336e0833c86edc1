"""The flattest minimum that can be reached from a start, without training.

The step size beyond which nothing comes to rest is that of the flattest minimum. Where minima form a valley, as those
of every network with more parameters than its loss can tell apart, Newton's method ends anywhere in it; from there
one walks along the directions without curvature to where the largest eigenvalue is least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.problems.base import Problem
from gdx.records import record

if TYPE_CHECKING:
    import chex

DENSE_PARAMETERS = 700
"""Up to this many parameters a minimum is looked for with the dense Hessian."""
VALLEY_PARAMETERS = 200
"""Up to this many parameters a valley is walked along, which takes some hundred dense Hessians."""
NUM_STARTS = 3
"""Starts whose walks must end at one sharpness."""
AGREE = 1e-3
"""Relative difference between their ends."""
NUM_SIDES = 8
"""Directions in which a minimum is looked at for a kink."""
KINK = 0.1
"""Share of the largest eigenvalue by which the gradient may change otherwise than the Hessian says: over so short a way
third derivatives do far less, the jump at a kink far more."""
SETTLED = 1e-3
"""Relative change of the eigenvalue with one Newton step more, from which it is not that of the minimum yet."""
FLAT = 1e-6
"""Share of the largest eigenvalue below which a direction has no curvature."""
ALONE = 1e-10
"""Share of it from which every direction has curvature once the slope is down to rounding: raw features leave 5e-10 of
it, while the directions of valleys have rounding alone, up to 3e-12 of either sign."""
POWERS = (4, 32, 256)
"""Of the Schatten norms that stand for the largest eigenvalue, which has a corner wherever two are equal, as they are
in the flattest minimum of most networks."""
MAX_MOVES, MAX_HALVINGS, NEWTON_STEPS = 100, 20, 6
SHRINKS, DESCENT = 0.4, 1e-4
"""Of a step along the valley that does not help; and what helps, of the decrease that its slope promises."""
ENOUGH, UNFINISHED = 1e-8, 1e-5
"""Relative gain of a step after which a norm counts as least, and that which says of the last one that it is not."""
STEEP = 0.03
"""Relative change of a norm over a way as long as the parameters, below which its least is some .05 % away at most."""
DISPLACED = 0.1
"""Relative displacement of starts that are one and the same."""


@record
class Minima(NamedTuple):
    """The flattest minimum that several starts lead to.

    Examples
    --------
    Continues the example of `gdx.studies.flattest_minimum`.

    >>> found.num_flat, found.note
    (1, '')
    """

    sharpness: float
    """Largest Hessian eigenvalue there; nan where there is none to go by."""
    by_start: tuple[float, ...]
    """That of each start, up to the first that led to none; nan for that."""
    num_flat: int
    """Dimension of the valley of minima that it lies in; 0 where it stands alone."""
    note: str
    """Why there is no number, where there is none."""


def flattest_minimum(
    problem: Problem,
    keys: chex.PRNGKey,
    scale: chex.ArrayTree | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Minima:
    """Find the flattest minimum that starts lead to: no step size beyond threshold / sharpness comes to rest there.

    Parameters
    ----------
    problem
        A Problem with at most `DENSE_PARAMETERS` parameters, smooth; `VALLEY_PARAMETERS` where minima form a valley.
    keys
        Typed keys [R]; up to three are used. Where they lead to one and the same start, the others are displaced by a
        tenth of it.
    scale
        Gain of every parameter as a `Response` has it, or None: the eigenvalue is then that of G^1/2 H G^1/2, and
        parameters with a gain of 0 stay where they start.
    progress
        Called as `progress(finished, total)` before every start.

    Returns
    -------
    Minima
        Newton's method with a trust region finds a minimum; a descent on Schatten norms of the Hessian, along its
        directions without curvature, the flattest of the valley that it lies in. A number only where all starts end at
        the same sharpness, within .1 %.

    Examples
    --------
    The product of two numbers: minima x y = 1 of sharpness x^2 + y^2, the flattest at 1.

    >>> import jax, jax.numpy as jnp, gdx
    >>> jax.config.update("jax_enable_x64", True)
    >>> product = gdx.problem(jnp.asarray([3.0, 0.2]), lambda w: (w[0] * w[1] - 1) ** 2 / 2)
    >>> found = gdx.studies.flattest_minimum(product, jax.random.split(jax.random.key(0), 3))
    >>> round(found.sharpness, 6)
    2.0
    """
    start, _ = ravel_pytree(problem.init(keys[0])[0])
    if start.size > DENSE_PARAMETERS:
        return Minima(math.nan, (), 0, f"not looked for in {start.size} parameters; {DENSE_PARAMETERS} are too many")
    compiled = _compiled(problem)
    ends, starts = [], _starts(problem, keys)
    for key, displaced in starts:
        if progress is not None:
            progress(len(ends), len(starts))
        ends.append(_end(problem, key, scale, displaced, compiled))
        if ends[-1].note:
            break
    by_start = tuple(end.sharpness for end in ends)
    num_flat = max(end.num_flat for end in ends)
    if ends[-1].note:
        return Minima(math.nan, by_start, num_flat, ends[-1].note)
    low, high = min(by_start), max(by_start)
    if high > (1 + AGREE) * low:
        what = "valleys whose flattest minima have" if num_flat else "minima of"
        return Minima(
            math.nan, by_start, num_flat, f"{len(ends)} starts lead to {what} sharpness {low:.3g} to {high:.3g}"
        )
    return Minima(low, by_start, num_flat, "")


def minimum_sharpness(problem: Problem, key: chex.PRNGKey, scale: chex.ArrayTree | None = None) -> float | None:
    """Largest Hessian eigenvalue at the flattest minimum that one start leads to, see `flattest_minimum`.

    Parameters
    ----------
    problem, scale
        As in `flattest_minimum`.
    key
        One typed key, for the start.

    Returns
    -------
    float or None
        None where the problem is too large, or no minimum was found: a gradient that is not small after all
        steps, negative curvature there, an eigenvalue that sinks for as long as one steps nearer, as of a quartic, or
        a kink there, where the Hessian on one side says nothing of the other.

    Examples
    --------
    >>> import jax, gdx
    >>> round(gdx.studies.minimum_sharpness(gdx.problems.quartic(), jax.random.key(0)), 6)
    2.0
    """
    found = flattest_minimum(problem, key[None], scale)
    return None if math.isnan(found.sharpness) else found.sharpness


class _End(NamedTuple):
    """Where one start led."""

    sharpness: float
    num_flat: int
    note: str = ""


class _Surface(NamedTuple):
    """A loss of the numbers that move, in units in which every gain is 1."""

    value: Callable[[Any], Any]
    gradient: Callable[[Any], np.ndarray]
    hessian: Callable[[Any], np.ndarray]
    bends: Callable[[Any, Any], np.ndarray]
    """Gradient of tr(W H) for a fixed W."""


def _starts(problem, keys):
    """Up to three keys, and by which seed the start is displaced; 0 for not at all."""
    chosen = keys[:NUM_STARTS]
    starts = [ravel_pytree(problem.init(key)[0])[0] for key in chosen]
    if any(np.any(np.asarray(other != starts[0])) for other in starts[1:]):
        return [(key, 0) for key in chosen]
    return [(key, seed) for seed, key in enumerate(chosen)]


def _end(problem, key, scale, displaced, compiled):
    params, state = problem.init(key)
    start, _ = ravel_pytree(params)
    roots = np.sqrt(np.asarray(ravel_pytree(gains(scale, params))[0], float))
    wide = jnp.promote_types(start.dtype, jnp.float32)
    moves = roots > 0
    begin = np.asarray(start, wide)[moves] / roots[moves].astype(wide)
    if displaced:
        way = np.random.default_rng(displaced).normal(size=begin.size)
        begin = begin + (DISPLACED * np.linalg.norm(begin) / np.linalg.norm(way) * way).astype(wide)
    if not begin.size:
        return _End(math.nan, 0, "no parameter moves")

    def host(function):
        return lambda *arguments: np.asarray(
            function(*(argument.astype(wide) for argument in arguments), roots.astype(wide), params, state), wide
        )

    return _descend(_Surface(*(host(function) for function in compiled)), begin)


def _compiled(problem):
    """The functions of a `_Surface` for every start: of the numbers that move, the roots of all gains, and a start."""

    def value(vector, roots, params, state):
        start, unravel = ravel_pytree(params)
        # Of its length alone, known while tracing: the others stay where they are.
        moves = jnp.nonzero(roots > 0, size=vector.size)[0]
        # SciPy has no floats narrower than float32.
        return judged_loss(problem, state)(unravel(start.at[moves].set((roots[moves] * vector).astype(start.dtype))))

    def bends(vector, weights, *rest):
        return jax.grad(lambda place: jnp.sum(weights * jax.hessian(value)(place, *rest)))(vector)

    return [jax.jit(function) for function in (value, jax.grad(value), jax.hessian(value), bends)]


def _descend(surface, begin):
    from scipy import optimize

    first = float(np.linalg.norm(surface.gradient(begin)))
    if not np.isfinite(first):
        return _End(math.nan, 0, "the gradient at the start is not finite")
    end = begin
    if first > 0:
        end = optimize.minimize(
            lambda vector: float(surface.value(vector)),
            begin,
            jac=surface.gradient,
            hess=surface.hessian,
            method="trust-exact",
            options={"gtol": 1e-9 * first, "maxiter": 300},
        ).x.astype(begin.dtype)
    note = _why_no_minimum(surface, end, first)
    if note:
        return _End(math.nan, 0, note)
    place = _look(surface, end)
    if not place.num_flat:
        return _End(place.top, 0)
    landed = _land(surface, end, ALONE)
    if landed is not None and (alone := _look(surface, landed)).eigenvalues[0] > ALONE * alone.top:
        return _End(alone.top, 0)
    if end.size > VALLEY_PARAMETERS:
        return _End(math.nan, place.num_flat, f"minima form a valley, of {end.size} parameters: too many to walk along")
    if np.finfo(end.dtype).eps > FLAT**2:
        return _End(math.nan, place.num_flat, "minima form a valley; its flattest place takes float64 to find")
    walked, note = _walk(surface, end)
    note = note or _why_no_minimum(surface, walked, first)
    return _End(math.nan if note else _look(surface, walked).top, place.num_flat, note)


def _why_no_minimum(surface, end, first):
    """What speaks against a place's being a smooth minimum; empty if nothing does."""
    hessian, slope = surface.hessian(end), surface.gradient(end)
    if not np.all(np.isfinite(hessian)):
        return "the Hessian that Newton's method ends at is not finite"
    if not np.linalg.norm(slope) <= 1e-6 * first:
        return "Newton's method finds no minimum"
    eigenvalues = np.linalg.eigvalsh(hessian)
    if not eigenvalues[0] >= -1e-6 * abs(eigenvalues[-1]):
        return "Newton's method ends at a saddle"
    nearer = (end - np.linalg.pinv(hessian, FLAT, hermitian=True) @ slope).astype(end.dtype)
    if not abs(np.linalg.eigvalsh(surface.hessian(nearer))[-1] - eigenvalues[-1]) <= SETTLED * eigenvalues[-1]:
        return "curvature vanishes towards the minimum"
    return "" if _is_smooth(surface, hessian, end) else "the loss has a kink at its minimum"


def _is_smooth(surface, hessian, end):
    """Whether the gradient's changes a little to either side of a place are those that its Hessian says."""
    largest = max(float(np.linalg.norm(hessian, 2)), np.finfo(end.dtype).tiny)
    eps = np.finfo(end.dtype).eps
    length = eps ** (1 / 3) * max(float(np.linalg.norm(end)), 1.0)
    for column in np.random.default_rng(0).normal(size=(NUM_SIDES, end.size)):
        step = (length * column / np.linalg.norm(column)).astype(end.dtype)
        found = surface.gradient(end + step) - surface.gradient(end)
        if not np.linalg.norm(found - hessian @ step) <= KINK * largest * length:
            return False
    return True


class _Place(NamedTuple):
    """A place in a valley."""

    top: float
    eigenvalues: np.ndarray
    vectors: np.ndarray

    @property
    def flat(self):
        """Directions without curvature [P, F]."""
        return self.vectors[:, np.abs(self.eigenvalues) <= FLAT * self.top]

    @property
    def num_flat(self):
        """How many."""
        return self.flat.shape[1]


def _look(surface, place):
    eigenvalues, vectors = np.linalg.eigh(surface.hessian(place))
    return _Place(float(eigenvalues[-1]), eigenvalues, vectors)


def _norm(surface, place, power):
    """The Schatten norm of a place's Hessian, and its gradient along the valley."""
    seen = _look(surface, place)
    shares = np.clip(seen.eigenvalues / seen.top, 0, None)
    total = np.sum(shares**power)
    weights = (seen.vectors * (shares ** (power - 1) * total ** (1 / power - 1))) @ seen.vectors.T
    return seen.top * total ** (1 / power), seen.flat @ (seen.flat.T @ surface.bends(place, weights))


def _land(surface, place, flat=FLAT):
    """Back onto the valley, by Newton's method across it; None where it is not reached."""
    rounding = 1e3 * np.finfo(place.dtype).eps
    for _ in range(NEWTON_STEPS):
        hessian, slope = surface.hessian(place), surface.gradient(place)
        if not np.all(np.isfinite(hessian)):
            return None
        # A direction whose curvature is little but not none leads off the minimum, and its slope does not go away.
        if np.linalg.norm(slope) <= rounding * np.linalg.norm(hessian) * np.linalg.norm(place):
            return place
        place = place - np.linalg.pinv(hessian, flat, hermitian=True) @ slope
    return None


def _walk(surface, place):
    """Descend along a valley on one norm after the other; returns the place, and why it is not the flattest."""
    landed = _land(surface, place)
    if landed is None:
        # Directions of little curvature that hold a slope are no valley: the minimum stands alone.
        return place, ""
    place = landed
    norm, slope, gain = 0.0, np.zeros_like(place), 0.0
    for power in POWERS:
        norm, slope = _norm(surface, place, power)
        length, gain = _first_length(place, norm, slope), 0.0
        for _ in range(MAX_MOVES):
            moved = _move(surface, place, norm, slope, length, power)
            if moved is None:
                gain = 0.0
                break
            nearer, new_norm, new_slope = moved
            gain = (norm - new_norm) / norm
            way, turn = nearer - place, new_slope - slope
            # Barzilai and Borwein's step length.
            length = min(float(way @ way) / max(abs(float(way @ turn)), np.finfo(float).tiny), 10 * length)
            place, norm, slope = nearer, new_norm, new_slope
            if gain < ENOUGH:
                break
    if gain >= UNFINISHED:
        return place, "minima form a valley, and become flatter as far as one walks along it"
    # Where no step helps although it is steep, the walk has ended and not arrived.
    is_steep = np.linalg.norm(slope) * np.linalg.norm(place) > STEEP * norm
    return place, "minima form a valley, and the walk to its flattest place is stuck" if is_steep else ""


def _first_length(place, norm, slope):
    steep = float(np.linalg.norm(slope))
    return min(0.1 * norm / steep**2, 0.3 * float(np.linalg.norm(place)) / steep) if steep > 0 else 0.0


def _move(surface, place, norm, slope, length, power):
    """One step down along the valley; None where none helps."""
    steep = float(slope @ slope)
    for _ in range(MAX_HALVINGS if steep > 0 else 0):
        nearer = _land(surface, place - length * slope)
        if nearer is not None:
            new_norm, new_slope = _norm(surface, nearer, power)
            if new_norm <= norm - DESCENT * length * steep:
                return nearer, new_norm, new_slope
        length *= SHRINKS
    return None


def gains(scale: chex.ArrayTree | None, params: chex.ArrayTree) -> chex.ArrayTree:
    """Spread gains over parameters.

    Parameters
    ----------
    scale
        As a `Response` has it, or None.
    params
        Of a problem.

    Returns
    -------
    pytree
        One gain a number, in the shapes of the parameters.
    """
    if scale is None:
        return jax.tree.map(jnp.ones_like, params)
    return jax.tree.map(lambda leaf, gain: jnp.broadcast_to(jnp.asarray(gain, leaf.dtype), leaf.shape), params, scale)


def judged_loss(problem: Problem, model_state: chex.ArrayTree) -> Callable[[chex.ArrayTree], jax.Array]:
    """Make the loss that verdicts are about, of the parameters alone.

    Parameters
    ----------
    problem
        A Problem without batches, or with a full loss.
    model_state
        Of the model; it stays as it is.

    Returns
    -------
    callable
        `params -> scalar`.
    """
    full_loss = problem.full_loss
    if full_loss is not None:
        return lambda params: full_loss(params, model_state)
    return lambda params: problem.loss(params, model_state, None)[0]
