"""What happens just beyond the edge of a minimum: runs hop between two points there, or they leave."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import own_rules
from gdx.curvature.eigenpairs import top_eigenpairs
from gdx.curvature.inputs import check_batches, check_scalar_loss, widened
from gdx.curvature.products import hessian_product, mean_over_batches
from gdx.records import legend, record
from gdx.trees import flatten, unflatten

if TYPE_CHECKING:
    import chex

NUM_ITERS = 400
"""Products that a solve may spend."""
BLOCK = 16
"""Products between two looks at a solve."""
SETTLED = 1e-7
"""Relative change of a solve's value over half of its products, from which on it stands."""
CUT = {"float64": 1e-6, "float32": 1e-3}
"""Share of the largest curvature from which on a direction counts as curved."""
DOUBLE = 1e-4
"""Relative gap of the two largest curvatures below which there is no one direction."""
NEAR = 0.05
"""Of the length over which the loss bends, how far the parameters may be from the minimum."""
REACH = 0.05
"""Of that length, how far apart the gradients of the second road are taken."""
AGREE = 0.05
"""Relative difference of both roads from which there is no number, beside the error of either."""
SLOW = 0.1
"""Share of the cubic part that a direction must have for its curvature to count as the slowest."""


@legend
class FlipKind(enum.Enum):
    """What runs do just beyond the edge.

    Examples
    --------
    Continues the example of `gdx.flip`.

    >>> found.kind is gdx.FlipKind.SOFT
    True
    """

    SOFT = "soft"
    """They hop between two points on either side of the minimum, and go on training."""
    HARD = "hard"
    """They leave, however little the step size is beyond the edge."""
    UNDECIDED = "undecided"
    """The coefficient is not known from zero; `note` says why."""


@record
class Flip(NamedTuple):
    """How a minimum loses its stability to steps that alternate in sign.

    Examples
    --------
    Continues the example of `gdx.flip`.

    >>> round(found.cubic, 6), round(found.quartic, 6), round(found.amplitude(0.01), 6)
    (9.0, -1.0, 0.05)
    """

    coefficient: float
    """c = w' H+ w / 2 - D4 / 6, loss over length^4; NaN where both roads disagree."""
    error: float
    """Of c, absolute: of the solve, of the direction, and of the difference between both roads."""
    kind: FlipKind
    """What follows from its sign."""
    sharpness: float
    """Largest Hessian eigenvalue, lam."""
    vector: Any
    """Its unit eigenvector v, shaped as the parameters; runs hop along it."""
    cubic: float
    """w' H+ w / 2 on the directions with curvature, w the third derivative along v twice; never below 0."""
    quartic: float
    """-D4 / 6, D4 the fourth derivative along v."""
    slowest: float
    """Curvature over `sharpness` of the slowest direction that matters: amplitudes hold for an excess well below it."""
    drift: float
    """Share of w, by length, in directions without curvature: hopping runs drift along these, to flatter minima."""
    gradient_norm: float
    """At the parameters."""
    num_products: int
    """Hessian products spent, but for those of the eigenvector."""
    note: str
    """Why it is undecided; empty where it is not."""

    def amplitude(self, excess: float) -> float:
        """Distance from the minimum to either of the two points that runs hop between.

        Parameters
        ----------
        excess
            Step size over its critical value, less 1; small and positive.

        Returns
        -------
        float
            sqrt(lam excess / c), in units of the parameters; NaN unless soft.
        """
        if self.kind is not FlipKind.SOFT or not excess >= 0:
            return math.nan
        return math.sqrt(self.sharpness * excess / self.coefficient)


@own_rules()
def flip(
    loss: Callable[..., jax.Array],
    params: chex.ArrayTree,
    *,
    batches: Any = None,
    key: chex.PRNGKey | None = None,
) -> Flip:
    """Say which way a minimum fails just beyond its edge of stability: runs hop on around it, or they leave.

    It is a property of the loss alone, for every optimizer that is linear in its gradients and loses stability at
    alternating signs: gradient descent, heavy ball, Nesterov and averaged gradients hop at the same distance at the
    same excess over their own critical step sizes.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`, or `loss(params, batch) -> scalar` with `batches`; four times differentiable.
    params
        At a minimum: pytree of floating arrays, D numbers in all.
    batches
        Pytree of arrays [K, ...], K batches. The loss meant is the mean over them.
    key
        Draws the first vector of the search for v; by default `jax.random.key(0)`.

    Returns
    -------
    Flip
        Reached by two roads: by third and fourth derivatives, and by differences of gradients on either side, which
        need neither. Where they disagree there is no number.

    Raises
    ------
    ValueError
        If the parameters are no minimum, or its largest curvature belongs to two directions; as `gdx.sharpness` where
        an argument does not fit.

    Notes
    -----
    Kuznetsov's normal form of the flip for steps of gradient descent. Directions with less than 1e-6 of the largest
    curvature (1e-3 in float32) count as flat: in a valley of minima they are no part of c. Memory is that of some ten
    copies of the parameters beside the search for v, at any number of them.

    Examples
    --------
    The quartic x^4/4 - x^2/2 at its minimum 1, where c = 8.

    >>> import jax, jax.numpy as jnp, gdx
    >>> jax.config.update("jax_enable_x64", True)
    >>> found = gdx.flip(lambda x: x**4 / 4 - x**2 / 2, jnp.asarray(1.0))
    >>> round(found.coefficient, 6), found.kind.value
    (8.0, 'soft')
    """
    params = widened(params)
    check_batches(batches)
    check_scalar_loss(loss, params, batches)
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    top = _top(loss, params, batches, key, size)
    along = _along(loss, params, batches, top.vector)
    here = _Here(along, top.value, _step_of(along.product), min(NUM_ITERS, size), CUT[top.vector.dtype.name])
    gradient, third, fourth = here.along.derivatives()
    gradient_norm = float(np.linalg.norm(gradient))
    step, products = _solve(here, gradient)
    inner, more = _solve(here, third)
    lowest = min(step.lowest, inner.lowest, _lowest(here, top.vector, key))
    cubic, quartic = 0.5 * inner.value, -fourth / 6
    length = _length(top.value, cubic, quartic)
    _check_minimum(step, lowest, gradient_norm, length, top.value)
    value = cubic + quartic
    found = Flip(
        coefficient=value,
        error=0.0,
        kind=FlipKind.UNDECIDED,
        sharpness=top.value,
        vector=unflatten(top.vector, params),
        cubic=cubic,
        quartic=quartic,
        slowest=inner.slowest,
        drift=inner.flat_share,
        gradient_norm=gradient_norm,
        num_products=products + more,
        note="",
    )
    if math.isinf(length):
        return found._replace(note="third and fourth derivatives vanish along its largest curvature")
    return _judged(found, here, inner, top, length)


class _Top(NamedTuple):
    """The largest curvature."""

    value: float
    vector: jax.Array
    """[D]."""
    tilt: float
    """How far the vector may be off the eigenvector, radians."""


class _Along(NamedTuple):
    """What is asked of a loss at a minimum and beside it, in flat vectors [D]."""

    derivatives: Callable[[], tuple[np.ndarray, np.ndarray, float]]
    """Gradient, w = D3L[v, v, .] and D4L[v, v, v, v]."""
    product: Callable[[Any], jax.Array]
    gradient: Callable[[Any], np.ndarray]
    """At an offset."""


class _Here(NamedTuple):
    """A place."""

    along: _Along
    sharpness: float
    step: Callable[[Any], Any]
    """Of Lanczos."""
    num_iters: int
    cut: float


class _Solved(NamedTuple):
    """H+ b on the directions with curvature."""

    vector: np.ndarray
    value: float
    """b' H+ b."""
    error: float
    """Of it: by half of the products, and by where the cut lies."""
    flat_share: float
    """Of b, by length, in directions without curvature."""
    slowest: float
    """Curvature over the sharpness of the slowest direction with a share of the value."""
    lowest: float
    """Smallest curvature seen."""


def _top(loss, params, batches, key, size):
    found = top_eigenpairs(loss, params, k=min(2, size), batches=batches, key=key, rtol=1e-8)
    values = np.asarray(found.values, float)
    if not values[0] > 0:
        raise ValueError(
            f"params: the largest curvature is {values[0]:.3g}, so there is no minimum here; pass trained parameters"
        )
    gap = (values[0] - values[-1]) / values[0] if size > 1 else 1.0
    if gap < DOUBLE:
        raise ValueError(
            f"params: the two largest curvatures are {values[0]:.6g} and {values[1]:.6g}, so there is no one direction "
            "that loses stability first; move along the valley, or change the loss a little"
        )
    vector, residuals = flatten(jax.tree.map(lambda leaf: leaf[0], found.vectors)), np.asarray(found.residuals, float)
    # A second curvature that has not converged may be as much larger as its residual.
    least = max(gap - (residuals[-1] / values[0] if size > 1 else 0.0), DOUBLE)
    return _Top(float(values[0]), vector, float(residuals[0] / (least * values[0])))


def _along(loss, params, batches, vector):
    direction = unflatten(vector, params)

    def of_batch(function):
        return jax.jit(lambda *arguments: mean_over_batches(functools.partial(function, *arguments), batches))

    def derivatives(*batch):
        def value(place):
            return loss(place, *batch)

        gradient, third = jax.grad(value)(params), jax.grad(_directional(value, direction, 2))(params)
        return flatten(gradient), flatten(third), _directional(value, direction, 4)(params)

    def gradient(offset, *batch):
        place = jax.tree.map(jnp.add, params, unflatten(offset, params))
        return flatten(jax.grad(lambda place: loss(place, *batch))(place))

    product = hessian_product(loss, params, batches)
    ready, beside = of_batch(derivatives), of_batch(gradient)

    def host():
        first, third, fourth = ready()
        return np.asarray(first), np.asarray(third), float(fourth)

    return _Along(
        host,
        lambda flat: flatten(product(unflatten(flat, params))),
        lambda offset: np.asarray(beside(jnp.asarray(offset, vector.dtype))),
    )


def _directional(function, direction, order):
    """The derivative of some order along a direction, as a function of the place."""
    for _ in range(order):
        function = functools.partial(lambda inner, place: jax.jvp(inner, (place,), (direction,))[1], function)
    return function


def _solve(here, right):
    """Solve H x = b on the directions with curvature, by two passes of Lanczos in the memory of four vectors.

    The first gives the projected matrix, in which directions below the cut are left out; the second, with the vectors
    made again, puts the solution together. Without reorthogonalisation copies of converged eigenvalues share their
    weight, which changes no sum over them.
    """
    size = float(np.linalg.norm(right))
    if size == 0:
        return _Solved(np.zeros_like(right), 0.0, 0.0, 0.0, 1.0, 0.0), 0
    first, last = jnp.asarray(right / size), math.inf
    diagonal, beside, state = [], [], _begun(first)
    while True:
        state, ended = _advance(here, state, min(BLOCK, here.num_iters - len(diagonal)), diagonal, beside)
        seen = _quadrature(here, diagonal, beside, here.cut)
        is_settled = abs(seen.value - last) <= SETTLED * abs(seen.value)
        if ended or is_settled or len(diagonal) == here.num_iters:
            break
        last = seen.value
    half = _quadrature(here, diagonal[: max(len(diagonal) // 2, 1)], beside, here.cut)
    exact = ended or len(diagonal) == right.size
    parts = [0.0 if exact else abs(half.value - seen.value)]
    parts += [abs(_quadrature(here, diagonal, beside, here.cut * factor).value - seen.value) for factor in (0.1, 10.0)]
    coefficients = size * seen.coefficients
    solution, state = np.zeros_like(right), _begun(first)
    for coefficient in coefficients:
        solution += coefficient * np.asarray(state[1])
        state, _ = _advance(here, state, 1, [], [])
    solved = _Solved(solution, size**2 * seen.value, size**2 * max(parts), seen.flat_share, seen.slowest, seen.lowest)
    return solved, 2 * len(diagonal)


class _Quadrature(NamedTuple):
    value: float
    coefficients: np.ndarray
    flat_share: float
    slowest: float
    lowest: float


def _quadrature(here, diagonal, beside, cut):
    number = len(diagonal)
    off = np.asarray(beside[: number - 1])
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    weights = vectors[0]
    curved = values > cut * here.sharpness
    inverse = np.where(curved, 1 / np.where(curved, values, 1.0), 0.0)
    parts = weights**2 * inverse
    slow = values[parts >= SLOW * parts.sum()] if parts.sum() > 0 else np.ones(1)
    return _Quadrature(
        float(parts.sum()),
        vectors @ (inverse * weights),
        float(math.sqrt(np.sum(weights[~curved] ** 2))),
        float(slow.min() / here.sharpness) if parts.sum() > 0 else 1.0,
        float(values[0]),
    )


def _begun(first):
    return jnp.zeros_like(first), first, jnp.zeros((), first.dtype)


def _advance(here, state, number, diagonal, beside):
    """Go on with Lanczos, from the last two vectors to the next; says whether the vectors span all there is."""
    for _ in range(number):
        state, entry = here.step(state)
        diagonal.append(float(entry))
        beside.append(float(state[2]))
        if beside[-1] <= np.finfo(state[1].dtype).eps * here.sharpness:
            return state, True
    return state, False


def _step_of(product):
    @jax.jit
    def step(state):
        before, vector, size = state
        image = product(vector) - size * before
        entry = jnp.vdot(vector, image)
        rest = image - entry * vector
        length = jnp.linalg.norm(rest)
        return (vector, rest / jnp.where(length > 0, length, 1.0), length), entry

    return step


def _length(sharpness, cubic, quartic):
    """Over which the loss bends as much as it curves."""
    bend = abs(cubic) + abs(quartic)
    return math.sqrt(sharpness / bend) if bend > 0 else math.inf


def _lowest(here, like, key):
    """Smallest curvature that a few products from a random vector show."""
    key = jax.random.key(0) if key is None else key
    first = jax.random.normal(jax.random.fold_in(key, 1), like.shape, like.dtype)
    diagonal, beside = [], []
    _advance(here, _begun(first / jnp.linalg.norm(first)), min(2 * BLOCK, here.num_iters), diagonal, beside)
    return _quadrature(here, diagonal, beside, here.cut).lowest


def _check_minimum(step, lowest, gradient_norm, length, sharpness):
    if lowest < -1e-3 * sharpness:
        raise ValueError(
            f"params: curvature {lowest:.3g} along some direction, the largest is {sharpness:.3g}: a saddle; "
            "train on to a minimum"
        )
    distance = float(np.linalg.norm(step.vector))
    if distance > NEAR * length:
        raise ValueError(
            f"params: gradient norm {gradient_norm:.3g}, so the minimum is about {distance:.2g} away, where the loss "
            f"bends within {length:.2g}; train on until the norm is some {NEAR * length / distance * gradient_norm:.1g}"
        )


def _judged(found, here, inner, top, length):
    """With its error, and the kind that follows; without a number where both roads disagree."""
    second, spread, rest = _by_gradients(here, inner, top, length)
    whole = abs(found.cubic) + abs(found.quartic)
    error = max(0.5 * inner.error, 0.5 * rest, 4 * top.tilt * whole)
    difference = abs(second - found.coefficient)
    if difference > AGREE * whole + error + spread:
        note = f"two roads disagree: {found.coefficient:.4g} by derivatives, {second:.4g} by gradients on either side"
        return found._replace(coefficient=math.nan, error=math.nan, note=note)
    error = max(error, min(difference, spread + error))
    found = found._replace(error=error)
    if abs(found.coefficient) <= 2 * error:
        return found._replace(note=f"its coefficient cannot be told from 0, its error is {error:.1g}")
    return found._replace(kind=FlipKind.SOFT if found.coefficient > 0 else FlipKind.HARD)


def _by_gradients(here, inner, top, length):
    """Estimate c from gradients on either side of the minimum, what is left of the error, and of the solve.

    Two points x + y +- a v that steps hop between have opposite gradients, and these grow with a as lam a - c a^3.
    """
    vector, found = np.asarray(top.vector, float), []
    for reach in (REACH * length, REACH * length / 2):
        middle = -0.5 * reach**2 * inner.vector
        right, left = (np.asarray(here.along.gradient(middle + sign * reach * vector), float) for sign in (1, -1))
        pulled = float(vector @ (right - left)) / 2
        rest = abs(float(inner.vector @ (right + left))) / reach**2
        found.append(((here.sharpness * reach - pulled) / reach**3, rest))
    (wide, _), (narrow, rest) = found
    eps = float(np.finfo(np.asarray(top.vector).dtype).eps)
    rounding = 8 * eps * here.sharpness / (REACH * length / 2) ** 2
    return narrow + (narrow - wide) / 3, abs(narrow - wide) + rounding, rest
