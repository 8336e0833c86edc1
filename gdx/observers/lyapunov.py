"""Lyapunov exponents of a run: how fast neighbouring runs part or come together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from gdx.checks import check_count
from gdx.observers.observer import Observer, horizon_of
from gdx.records import record

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

FEWEST_BLOCKS = 16
"""Of equal length, a power of two, in the second half of a run; twice as many at most. The first half is the way to
where the run goes and counts for nothing."""
QUANTILE = 2.13
"""Of Student's distribution at 95 % and as many degrees of freedom as blocks leave at least, 15."""
ROUNDING = 1024.0
"""Machine epsilons by which a mean logarithm may be off: an orbit is off by the roundings of as many steps as it takes
to forget one, and curvature changes along with it."""


@record
class LyapunovExponents(NamedTuple):
    """The largest exponents of a run and what they can be trusted to, leaves [k], or [S, R, k] of many runs.

    Examples
    --------
    Continues the example of `gdx.observers.lyapunov`.

    >>> bool(abs(found.exponents[0, 0, 0] - np.log(0.6)) <= found.errors[0, 0, 0])
    True
    """

    exponents: Float[Array, " k"]
    """Mean growth of a tangent vector's logarithm a step, over the second half of the run; -inf where a step takes all
    length away, NaN where the run did not reach its horizon, has fewer than 32 steps, or a derivative is no number."""
    errors: Float[Array, " k"]
    """Half of a 95 % interval: from the scatter of 16 blocks or more, their pairs, and the drift where there is one;
    NaN where the exponent is no number."""
    converged: Bool[Array, " k"]
    """Whether the last quarter of the run says what the one before does, within their scatter."""


class _Sums(NamedTuple):
    """Growth so far."""

    blocks: Any
    """Sums over blocks of steps, [2 FEWEST_BLOCKS, k], of which the first `number` count."""
    number: Any
    length: Any
    """Of a block, steps, int32."""
    made: Any
    """Steps made whose growth counts, int32."""
    horizon: Any
    """Steps that there are, int32."""


def lyapunov(num_exponents: int = 1) -> Observer:
    """Watch the largest Lyapunov exponents of the whole step: parameters, model state and the optimizer's memory.

    Tangent vectors are pushed through every step by its derivative and made orthonormal again. An exponent above 0 by
    more than its bar is chaos, and `gdx.verdicts` then says so; one below 0 says that the run forgets where it was
    begun, at rest or on a cycle; 0 that it drifts along a valley, or moves on a closed curve.

    Parameters
    ----------
    num_exponents
        How many, k, from the largest down; at most as many as a step moves numbers. Each costs about a step.

    Returns
    -------
    Observer
        Its summary is a `LyapunovExponents`. A run that it watches does not end early, but where it blows up: it has no
        exponents then, see `blow_up_factor` of `gdx.sweep`.

    Raises
    ------
    ValueError
        If it is no whole number of at least 1.

    Notes
    -----
    Natural logarithms a step. The mean over blocks is weighted by a bump function, which on cycles and closed curves
    converges faster than any power of their number (Das, Saiki, Sander, Yorke, Nonlinearity 30, 2017,
    https://doi.org/10.1088/1361-6544/aa84c2). The method is that of Benettin, Galgani, Giorgilli and Strelcyn,
    Meccanica 15, 1980.

    A bar knows nothing of what a run has not met yet: of a transient longer than its horizon, or of bursts rarer than
    one in it. Searches that choose among a few step sizes have derivatives only where the choice stays the same.

    Examples
    --------
    >>> import jax, numpy as np, optax, gdx
    >>> bowl = gdx.problems.quadratic([1.0, 4.0])
    >>> run = gdx.sweep(bowl, optax.sgd, num_steps=2_000, observers={"lyapunov": gdx.observers.lyapunov(2)})
    >>> found = run([0.4], jax.random.split(jax.random.key(0), 1)).observed["lyapunov"]
    >>> np.allclose(found.exponents, np.log([0.6, 0.6]))  # of both |1 - step size x curvature|
    True
    """
    number = check_count("num_exponents", num_exponents, "pass how many exponents are wanted, from the largest down")
    return Observer(
        init=lambda params: _begun(number),
        update=_update,
        summarise=_summarise,
        tangents=number,
        whole_horizon=True,
    )


def _begun(number):
    none = jnp.zeros((), jnp.int32)
    # As wide as there is: a block may be of a million steps.
    return _Sums(jnp.zeros((2 * FEWEST_BLOCKS, number), float), none, none + 1, none, none + 1)


def _update(sums, view):
    horizon = horizon_of(view)
    half = horizon - horizon // 2
    bits = max(half // FEWEST_BLOCKS, 1).bit_length() - 1
    number = min(half >> bits, 2 * FEWEST_BLOCKS)
    # What comes after a loss that is no number is no part of the run; a step that overflows is its end.
    counts = jnp.isfinite(view.loss) & ~jnp.any(view.growth == jnp.inf)
    place = (view.step - (horizon - (number << bits))) >> bits
    place = jnp.where(counts & (place >= 0), place, 2 * FEWEST_BLOCKS)
    return _Sums(
        sums.blocks.at[place].add(view.growth.astype(sums.blocks.dtype), mode="drop"),
        jnp.full((), number, jnp.int32),
        jnp.full((), 1 << bits, jnp.int32),
        sums.made + counts,
        jnp.full((), horizon, jnp.int32),
    )


def _summarise(sums):
    place = jnp.arange(2 * FEWEST_BLOCKS, dtype=jnp.int32)
    counts = place < sums.number
    means = jnp.where(counts[:, None], sums.blocks / sums.length, 0)
    along = jnp.where(counts, (place + 0.5) / jnp.maximum(sums.number, 1), 0.5)
    weights = jnp.where(counts, jnp.exp(-1 / (along * (1 - along))), 0)
    weights = weights / jnp.sum(weights)
    collapsed = jnp.any((means == -jnp.inf) & counts[:, None], axis=0)
    is_known = (sums.made == sums.horizon) & (sums.number >= FEWEST_BLOCKS)
    exponents = jnp.where(is_known, jnp.where(collapsed, -jnp.inf, weights @ means), jnp.nan)

    drift = jnp.abs(_mean(means, counts & (along > 0.5)) - _mean(means, counts & (along < 0.5)))
    rounding = ROUNDING * jnp.finfo(means.dtype).eps * jnp.maximum(jnp.abs(exponents), 1)
    # Two independent halves, each with half of the blocks.
    apart = 2 * jnp.sqrt(_variance(means, counts) / jnp.maximum(sums.number, 1))
    converged = (drift <= QUANTILE * apart + 2 * rounding) | collapsed
    errors = QUANTILE * _spread(means, counts, weights) + jnp.where(converged, 0, drift) + rounding
    has_number = ~jnp.isnan(exponents)
    errors = jnp.where(collapsed, 0, errors)
    return LyapunovExponents(exponents, jnp.where(has_number, errors, jnp.nan), converged & has_number)


def _mean(means, counts):
    return jnp.sum(jnp.where(counts[:, None], means, 0), axis=0) / jnp.maximum(jnp.sum(counts), 1)


def _variance(means, counts):
    """Of single blocks, about their mean."""
    apart = jnp.where(counts[:, None], means - _mean(means, counts)[None], 0)
    return jnp.sum(apart**2, axis=0) / jnp.maximum(jnp.sum(counts) - 1, 1)


def _spread(means, counts, weights):
    """Standard error of the weighted mean: from single blocks or from pairs, whichever scatter more."""
    single = _variance(means, counts) * jnp.sum(weights**2)
    pairs, shares = means.reshape(FEWEST_BLOCKS, 2, -1).mean(axis=1), weights.reshape(-1, 2).sum(axis=1)
    paired = _variance(pairs, counts.reshape(-1, 2).all(axis=1)) * jnp.sum(shares**2)
    return jnp.sqrt(jnp.maximum(single, paired))
