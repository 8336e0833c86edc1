"""Feature scaling as pure functions: fit on some examples, apply to any others, invert.

A fit reads values and refuses bad ones, so it runs on the host; applying and inverting are arithmetic, on NumPy arrays
and under `jax.jit` and `jax.vmap` alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gdx.records import record

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Features = Float[np.ndarray, "*batch F"] | Float[jax.Array, "*batch F"]

CONSTANT = ("error", "zero")
ROUNDING = 4
"""A column whose range is within so many epsilons of its largest value is constant up to rounding."""
NAMED = 5
"""Most columns that an error lists."""


@record
class ScalingState(NamedTuple):
    """What a fit found, one number a column.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> state = gdx.problems.standardise.fit(np.array([[1.0], [3.0]]))
    >>> state.offset, state.spread
    (array([2.]), array([1.]))
    """

    offset: Float[np.ndarray, " F"]
    """What is subtracted."""
    spread: Float[np.ndarray, " F"]
    """What is divided by then; above 0."""


@record
class Scaling(NamedTuple):
    """A way to put features on one scale, as pure functions.

    Examples
    --------
    >>> import numpy as np
    >>> from gdx.problems.scaling import standardise
    >>> train, test = np.array([[1.0], [3.0]]), np.array([[5.0]])
    >>> state = standardise.fit(train)
    >>> standardise.apply(state, test)
    array([[3.]])
    """

    fit: Callable[..., ScalingState]
    """`fit(features, constant="error") -> state` on features [M, F]; `constant="zero"` lets constant columns become 0
    (to rounding) where the default refuses them. Raises ValueError on anything but a matrix of finite real numbers."""
    apply: Callable[[ScalingState, Any], Any]
    """`apply(state, features) -> scaled`, of the same shape [..., F]; a floating dtype is kept."""
    invert: Callable[[ScalingState, Any], Any]
    """`invert(state, scaled) -> features`, the inverse of `apply`."""


class _Columns(NamedTuple):
    """What every measure starts from: finite columns, none of them empty."""

    values: Float[np.ndarray, "M F"]
    low: Float[np.ndarray, " F"]
    span: Float[np.ndarray, " F"]
    """Largest minus smallest value."""
    tolerance: Float[np.ndarray, " F"]
    """Differences up to here are rounding."""

    @property
    def constant(self) -> Bool[np.ndarray, " F"]:
        return self.span <= self.tolerance


def as_matrix(features: Any) -> Float[np.ndarray, "M F"]:
    """Check features and take them to float64.

    Parameters
    ----------
    features
        [M, F], of any real dtype.

    Returns
    -------
    array
        [M, F] in float64.

    Raises
    ------
    ValueError
        If they are traced, no matrix, empty, no real numbers, or not finite.
    """
    if isinstance(features, Tracer):
        raise ValueError("features: a traced array has no values to fit on; fit outside jit and pass the state in")
    features = np.asarray(features)
    if features.ndim != 2 or features.size == 0:
        raise ValueError(f"features: shape {features.shape} is not [M, F]; pass a matrix, one row an example")
    if not (features.dtype.kind in "biu" or jnp.issubdtype(features.dtype, jnp.floating)):
        raise ValueError(f"features: dtype {features.dtype} is not real numbers; encode them as numbers first")
    matrix = features.astype(float)
    bad = ~np.isfinite(matrix)
    if bad.any():
        values = "value that is" if bad.sum() == 1 else "values that are"
        has = _named(bad.any(axis=0), "has", "have")
        raise ValueError(f"features: {has} {bad.sum()} {values} not finite; impute or drop them first")
    return matrix


def _named(mask, one, many):
    columns = np.flatnonzero(mask)
    shown = ", ".join(map(str, columns[:NAMED]))
    if len(columns) == 1:
        return f"column {shown} {one}"
    more = f" and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
    return f"columns {shown}{more} {many}"


def _columns(features):
    """Range and rounding of every column, and the epsilon of the dtype in which the features came."""
    matrix = as_matrix(features)
    dtype = np.asarray(features).dtype
    epsilon = float(jnp.finfo(dtype if jnp.issubdtype(dtype, jnp.floating) else float).eps)
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    with np.errstate(over="ignore"):
        span = high - low
    if not np.all(np.isfinite(span)):
        wide = _named(~np.isfinite(span), "is", "are")
        raise ValueError(f"features: {wide} wider than the largest float64; change the unit first")
    # Below the smallest normal number a spread would lose its digits, or be 0.
    tolerance = np.maximum(ROUNDING * epsilon * np.maximum(np.abs(low), np.abs(high)), np.finfo(float).tiny)
    return _Columns(matrix, low, span, tolerance), epsilon


def _scaling(measure):
    """Make a Scaling of `measure(columns, span) -> (offset, spread)`, where `span` is free of zeros."""

    def fit(features: Any, constant: str = "error") -> ScalingState:
        if constant not in CONSTANT:
            raise ValueError(f"constant: {constant!r} is unknown; choose 'error' or 'zero'")
        columns, epsilon = _columns(features)
        if constant == "error" and columns.constant.any():
            are = _named(columns.constant, "is", "are")
            them, their = ("it", "its") if columns.constant.sum() == 1 else ("them", "their")
            raise ValueError(
                f"features: {are} constant and cannot be scaled; drop {them} (the bias does {their} work), "
                "or pass constant='zero'"
            )
        offset, spread = measure(columns, np.where(columns.constant, 1.0, columns.span))
        # 1, or more where the column is so large that its rounding would not come out as 0.
        still = np.maximum(1.0, np.where(columns.constant, columns.span, 0.0) / (ROUNDING * epsilon))
        return ScalingState(offset, np.where(columns.constant, still, spread))

    return Scaling(fit, _apply, _invert)


def _apply(state: ScalingState, features: Any) -> Any:
    offset, spread, features = _as_rows(state, features, "features")
    return _keep_dtype((features - offset) / spread, features)


def _invert(state: ScalingState, scaled: Any) -> Any:
    offset, spread, scaled = _as_rows(state, scaled, "scaled")
    return _keep_dtype(scaled * spread + offset, scaled)


def _as_rows(state, array, name):
    if not isinstance(array, jax.Array):
        array = np.asarray(array)
    if array.shape[-1:] != state.offset.shape:
        raise ValueError(
            f"{name}: shape {array.shape} does not fit a state of {len(state.offset)} columns; pass [..., F]"
        )
    row = (None,) * (array.ndim - 1)
    return state.offset[row], state.spread[row], array


def _keep_dtype(result, array):
    """Computed in the wider of the two dtypes, so that a low precision rounds once, and not the offset first."""
    return result.astype(array.dtype) if jnp.issubdtype(array.dtype, jnp.floating) else result


def _mean_and_deviation(columns, span):
    # On [0, 1], where squares neither overflow nor vanish and a large mean costs no digits.
    unit = (columns.values - columns.low[None]) / span[None]
    return columns.low + span * unit.mean(axis=0), span * unit.std(axis=0)


def _minimum_and_range(columns, span):
    return columns.low, span


def _median_and_quartiles(columns, span):
    first, median, third = np.quantile(columns.values, [0.25, 0.5, 0.75], axis=0)
    distance = third - first
    return median, np.where(distance <= columns.tolerance, span, distance)


standardise = _scaling(_mean_and_deviation)
"""To mean 0 and standard deviation 1 (of all M, without Bessel's correction). One far outlier squeezes the rest.

Examples
--------
>>> import numpy as np, gdx
>>> data = np.array([[0.0], [1.0], [2.0], [5.0]])
>>> gdx.problems.standardise.apply(gdx.problems.standardise.fit(data), data)[:, 0].round(3).tolist()
[-1.069, -0.535, 0.0, 1.604]
"""

min_max = _scaling(_minimum_and_range)
"""To [0, 1] on the data of the fit; others may leave it. The most easily squeezed by an outlier.

Examples
--------
>>> import numpy as np, gdx
>>> data = np.array([[0.0], [1.0], [2.0], [5.0]])
>>> gdx.problems.min_max.apply(gdx.problems.min_max.fit(data), data)[:, 0].tolist()
[0.0, 0.2, 0.4, 1.0]
"""

robust = _scaling(_median_and_quartiles)
"""To median 0 and distance 1 between the quartiles (linearly interpolated), which outliers hardly move.

A column that varies while its quartiles coincide, such as a rare indicator or a pixel that is mostly blank, is divided
by its range instead, so that it stays within [-1, 1]; scikit-learn's RobustScaler leaves it in its own unit.

Examples
--------
>>> import numpy as np, gdx
>>> data = np.array([[0.0], [1.0], [2.0], [5.0]])
>>> gdx.problems.robust.apply(gdx.problems.robust.fit(data), data)[:, 0].tolist()
[-0.75, -0.25, 0.25, 1.75]
"""

SCALINGS: dict[str, Scaling] = {"standard": standardise, "minmax": min_max, "robust": robust}
"""Under the names that the constructors of problems take as `scale`."""
