"""Products of parameters: the smallest losses with a whole valley of minima, some flatter than others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.problems.base import Known, Problem, problem

if TYPE_CHECKING:
    from jax.typing import ArrayLike

_LAW = "flattest minimum and 2-cycle of a two-layer factorization (arXiv 2402.13108)"
_FLATTEST = "flattest minimum of a deep linear network (arXiv 2402.13108)"


def scalar_factorization(target: float = 1.0, start: ArrayLike | None = None) -> Problem:
    """Half of (x y - target)^2, params [2]: a hyperbola of minima, the flattest where x = y.

    Parameters
    ----------
    target
        The product to reach, a number above 0.
    start
        Where every run starts, [2]; by default standard normal from the repeat's key.

    Returns
    -------
    Problem
        With `known`: critical step size 1/target, and above it the same tail gradient norm from every start
        that stays bounded, sqrt(2 (eta target - 1)) / eta^1.5 up to (sqrt(5) - 1)/target.

    Raises
    ------
    ValueError
        If the target is not above 0.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.curvature_threshold(optax.sgd) / gdx.problems.scalar_factorization(target=4.0).known.min_sharpness
    0.25
    """
    known = None
    if not isinstance(target, Tracer):
        target = float(target)
        if not (math.isfinite(target) and target > 0):
            raise ValueError(f"target: {target} is outside (0, inf); at 0 no critical step size exists")
        known = Known(2 * target, 0.0, _two_layer_law(target), _LAW)

    def init(key):
        return jax.random.normal(key, (2,))

    where = init if start is None else jnp.asarray(start, jnp.result_type(float))
    return problem(where, lambda w: 0.5 * (w[0] * w[1] - target) ** 2, known=known)


def chain(depth: int, target: float = 1.0, start: ArrayLike | None = None) -> Problem:
    """Half of (x1 x2 ... xk - target)^2, params [k]: a linear network of width 1, the flattest minima where all agree.

    Parameters
    ----------
    depth
        Number of factors, k, at least 2.
    target
        The product to reach, a number above 0.
    start
        Where every run starts, [k]; by default standard normal from the repeat's key. A start with a negative
        product may end at 0, from depth 3 on a saddle without curvature, whose small gradient is no convergence.

    Returns
    -------
    Problem
        With `known`: the smallest sharpness of a minimum is k target^(2 - 2/k), so that gradient descent's critical
        step size is 2 over that. At depth 2 it is `scalar_factorization`.

    Raises
    ------
    ValueError
        If the depth is below 2, the target not above 0, or the start of another length.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.curvature_threshold(optax.sgd) / gdx.problems.chain(3).known.min_sharpness  # 2/3
    0.6666666666666666
    """
    if not isinstance(depth, int) or depth < 2:
        raise ValueError(f"depth: {depth!r} is no whole number of at least 2; a single factor is a quadratic")
    if start is not None and np.shape(start) != (depth,):
        raise ValueError(f"start: shape {np.shape(start)} is not ({depth},); give one number a factor")
    known = None
    if not isinstance(target, Tracer):
        target = float(target)
        if not (math.isfinite(target) and target > 0):
            raise ValueError(f"target: {target} is outside (0, inf); at 0 no critical step size exists")
        law = _two_layer_law(target) if depth == 2 else None
        known = Known(depth * target ** (2 - 2 / depth), 0.0, law, _LAW if depth == 2 else _FLATTEST)

    def init(key):
        return jax.random.normal(key, (depth,))

    where = init if start is None else jnp.asarray(start, jnp.result_type(float))
    return problem(where, lambda w: 0.5 * (jnp.prod(w) - target) ** 2, known=known)


def linear_network(
    widths: Sequence[int] = (4, 4, 4),
    *,
    singular_values: Sequence[float] | None = None,
    init_scale: float = 0.1,
    teacher_seed: int = 0,
) -> Problem:
    """A deep linear network on whitened data: half the squared distance of W_L ... W_1 from a teacher.

    Parameters
    ----------
    widths
        Sizes of the layers from input to output, at least three: two matrices and up.
    singular_values
        Of the teacher, at most min(widths) of them, the rest 0; by default those of a standard normal
        matrix [widths[-1], widths[0]] over sqrt(widths[0]), of the rank that the narrowest layer allows.
        The teacher is diagonal: a rotation of whitened data would change nothing.
    init_scale
        Standard deviation of the initial weights.
    teacher_seed
        Seed of the random teacher; unused where `singular_values` are given.

    Returns
    -------
    Problem
        Params are a tuple of matrices, W_l of shape [widths[l+1], widths[l]]. `known` has the flattest minimum,
        L s^(2 - 2/L) for L matrices and top singular value s, and for two matrices the tail gradient norm of
        gradient descent; that law holds while step_size * (s1 + s2) < 2, beyond it runs may blow up.

    Raises
    ------
    ValueError
        If there are fewer than two matrices, a width below 1, or too many or negative singular values.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> problem = gdx.problems.linear_network(widths=(4, 4, 4))
    >>> round(gdx.curvature_threshold(optax.sgd) / problem.known.min_sharpness, 6)
    0.659006
    """
    widths = tuple(int(width) for width in widths)
    if len(widths) < 3 or min(widths) < 1:
        raise ValueError(f"widths: {widths} are not three or more sizes of at least 1; try (4, 4, 4)")
    values = _teacher_values(widths, singular_values, teacher_seed)
    teacher = jnp.zeros((widths[-1], widths[0])).at[np.arange(len(values)), np.arange(len(values))].set(values)
    depth = len(widths) - 1

    def init(key):
        shapes = list(zip(widths[1:], widths[:-1], strict=True))
        keys = jax.random.split(key, depth)
        return tuple(init_scale * jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))

    def loss(matrices):
        product = matrices[0]
        for matrix in matrices[1:]:
            product = matrix @ product
        return 0.5 * jnp.sum((product - teacher) ** 2)

    return problem(init, loss, known=_network_known(depth, values))


def _teacher_values(widths, singular_values, teacher_seed):
    limit = min(widths)
    if singular_values is None:
        # Narrower than the teacher, a network can only reach its best approximation of that rank.
        draw = np.random.default_rng(teacher_seed).normal(size=(widths[-1], widths[0])) / math.sqrt(widths[0])
        return np.linalg.svd(draw, compute_uv=False)[:limit]
    values = np.sort(np.asarray(singular_values, float))[::-1]
    if values.ndim != 1 or not 1 <= values.size <= limit or not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError(
            f"singular_values: {list(singular_values)} are not between 1 and {limit} numbers of at least 0; "
            "give at most min(widths) of them"
        )
    return values


def _network_known(depth, values):
    top = float(values[0])
    if top == 0:
        return None
    sharpness = depth * top ** (2 - 2 / depth)
    if depth > 2:
        return Known(sharpness, 0.0, None, _FLATTEST)
    return Known(sharpness, 0.0, _two_layer_law(top), _LAW)


def _two_layer_law(top):
    def tail_gradient_norm(step_size):
        eta = jnp.asarray(step_size)
        cycle = jnp.sqrt(2 * jnp.maximum(eta * top - 1, 0)) / eta**1.5
        return jnp.where(eta * top <= 1, 0.0, jnp.where(eta * top <= jnp.sqrt(5.0) - 1, cycle, jnp.nan))

    return tail_gradient_norm
