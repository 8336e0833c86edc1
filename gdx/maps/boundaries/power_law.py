"""The exponent of a power law from counts at several scales, with an interval, or the reason why there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.records import record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEWEST_SCALES = 5
"""Through which a straight line and its bend can be told apart."""
SHORTEST = 0.5
"""Of the logarithmic range of all scales, that a fit covers at least."""
FEWEST_HITS = 20
"""Below which a scale says nothing."""
FEWEST_BLOCKS = 4
"""Of the window, that hits must be spread over for the difference between them to tell an error."""
UNEVEN = 0.05
"""Relative deviation from a power law that every fractal may show at any scale (its lacunarity), so that one scale with
many hits does not outweigh all others."""
BENT = 0.2
"""Change of the exponent from the middle of the scales to either end from which it is no power law."""
SIGNIFICANT, NEGLIGIBLE = 2.0, 0.01
"""Standard errors of that change, and the change, up to which the curve counts as straight."""
HIDDEN = 0.125
"""Standard errors of that change that a curve may hide which seems straight."""
BEYOND = 2.0
"""Times that change is how far the exponent at vanishing scales may be from that in the middle: exact where what bends
the curve halves over half of the range."""
CONFIDENCE = 0.95
"""Of the interval."""


@record
class PowerLaw(NamedTuple):
    """A share that grows as scale^exponent.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> scales = 2.0 ** np.arange(6)
    >>> hits = np.tile(1_000 * scales, (8, 1))
    >>> found = gdx.maps.power_law(hits, np.full_like(hits, 1e6), scales)
    >>> print(f"{found.exponent:.3f} +- {found.error:.3f}")
    1.000 +- 0.000
    """

    exponent: float
    """Slope of the logarithms; NaN where `note` says why there is none."""
    error: float
    """Half the width of the interval at 95 %: noise, bend and wobble added up."""
    scales: np.ndarray
    """[K], ascending: those of the fit."""
    shares: np.ndarray
    """[K], hits over tries."""
    noise: float
    """Error that the difference between blocks of the window tells."""
    bend: float
    """Error that the curvature tells, since the exponent is wanted at scales that vanish."""
    wobble: float
    """Error that the scales' distance from a curve tells."""
    note: str
    """Why there is no exponent; empty where there is one."""


def power_law(hits: ArrayLike, tries: ArrayLike, scales: ArrayLike, most: float = 1.0) -> PowerLaw:
    """Fit a straight line through the logarithms of shares against scales, least squares.

    The interval adds three errors: of the sample, by leaving out one block of the window after the other; of the
    range, since the exponent is wanted at scales that vanish, as twice the change of the slope from the middle of the
    range to its end; and of what a curve of second degree does not explain, were all of it one wave along the range.
    Coarse scales are left out, up to half of the range, as long as the curve is bent.

    Parameters
    ----------
    hits, tries
        Of every block of the window at every scale, [B, K].
    scales
        [K], ascending.
    most
        Scales with a larger share are left out: where most of what is looked at is a hit, parts of the boundary hide
        each other.

    Returns
    -------
    PowerLaw
        Without an exponent where hits are too few, all in one place, or where the curve is straight nowhere.

    Raises
    ------
    ValueError
        If shapes do not fit, scales are not positive and ascending, or there are more hits than tries.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> scales = 2.0 ** np.arange(6)
    >>> hits = np.tile(1_000 * scales * np.exp(-scales / 4), (8, 1))
    >>> gdx.maps.power_law(hits, np.full_like(hits, 1e6), scales).note
    'the curve is bent: its slope changes by 3.3 over these scales'
    """
    hits, tries, scales = np.asarray(hits, float), np.asarray(tries, float), np.asarray(scales, float)
    _check(hits, tries, scales)
    total = hits.sum(axis=0)
    if not total.any():
        return _without("no boundary: all labels that were compared are alike", scales[:0], scales[:0])
    kept = (total >= FEWEST_HITS) & (total <= most * tries.sum(axis=0))
    if np.sum(total > most * tries.sum(axis=0)) > scales.size - FEWEST_SCALES:
        return _without("the boundary fills the window at these scales; look at smaller ones", scales[:0], scales[:0])
    hits, tries, scales, total = hits[:, kept], tries[:, kept], scales[kept], total[kept]
    shares = total / tries.sum(axis=0)
    if scales.size < FEWEST_SCALES:
        note = f"scales that say anything of the boundary: {scales.size}, and a fit needs {FEWEST_SCALES}"
        return _without(note, scales, shares)
    blocks = float(np.min(total**2 / (hits**2).sum(axis=0)))
    if blocks < FEWEST_BLOCKS:
        note = f"the boundary lies in {blocks:.1f} of {len(hits)} parts of the window; zoom in on it"
        return _without(note, scales, shares)
    end = scales.size
    law, is_curved = _fitted(hits, tries, scales, blocks)
    while is_curved and end > FEWEST_SCALES and scales[end - 2] / scales[0] > (scales[-1] / scales[0]) ** SHORTEST:
        end -= 1
        law, is_curved = _fitted(hits[:, :end], tries[:, :end], scales[:end], blocks)
    return law if law.bend <= BEYOND * BENT else _bent(law)


def _check(hits, tries, scales):
    if scales.ndim != 1 or not np.all(np.diff(np.append(0.0, scales)) > 0):
        raise ValueError("scales: they are not ascending from above 0; sort them")
    if hits.ndim != 2 or hits.shape != tries.shape or hits.shape[1] != scales.size:
        raise ValueError(
            f"hits: shape {hits.shape} with tries {tries.shape} is not [B, {scales.size}]; give one a scale"
        )
    if not np.all((hits >= 0) & (hits <= tries) & np.isfinite(tries)):
        raise ValueError("hits: some are below 0, above their tries, or not finite; count again")


def _without(note, scales, shares):
    nan = math.nan
    return PowerLaw(nan, nan, scales, shares, nan, nan, nan, note)


def _bent(law):
    note = f"the curve is bent: its slope changes by {2 * law.bend / BEYOND:.2g} over these scales"
    return law._replace(exponent=math.nan, error=math.nan, note=note)


def _fitted(hits, tries, scales, blocks):
    from scipy.special import stdtrit

    total, every = hits.sum(axis=0), tries.sum(axis=0)
    x = np.log(scales)
    span = float(x[-1] - x[0])
    x = (x - x.mean()) / span
    weights = 1 / np.sqrt(1 / total + UNEVEN**2)
    # Rows: the whole, then all but one block each; a scale whose hits all lie in that block keeps half of one.
    rest = np.maximum(np.concatenate([total[None], total - hits]), 0.5)
    logs = np.log(rest / np.concatenate([every[None], every - tries]))
    slopes = _least_squares(x, weights, logs, 1)[1] / span
    offset, tilt, curve = _least_squares(x, weights, logs, 2)
    noise = float(stdtrit(blocks - 1, (1 + CONFIDENCE) / 2)) * _spread(slopes[1:])

    bends = curve / span
    drawn = _spread(bends[1:])
    bend = BEYOND * max(math.sqrt(max(bends[0] ** 2 - drawn**2, 0.0)), HIDDEN * drawn)
    left = logs[0] - (offset[0] + tilt[0] * x + curve[0] * x**2)
    by_chance = np.sum(weights**2 / total) / np.sum(weights**2)
    off = max(float(np.sum((weights * left) ** 2) / np.sum(weights**2)) - by_chance, 0.0)
    # A wave of amplitude a along the whole range turns the line by 6 a / (pi range).
    wobble = 6 / math.pi * math.sqrt(2 * off * scales.size / (scales.size - 3)) / span
    is_curved = abs(bends[0]) > max(SIGNIFICANT * drawn, NEGLIGIBLE)
    law = PowerLaw(float(slopes[0]), noise + bend + wobble, scales, total / every, noise, bend, wobble, "")
    return law, is_curved


def _spread(values):
    """Standard error of the whole, from its values without one block each."""
    number = len(values)
    return math.sqrt((number - 1) / number * np.sum((values - values.mean()) ** 2))


def _least_squares(x, weights, logs, degree):
    """Coefficients of a polynomial, [degree + 1, rows], lowest first."""
    powers = x[:, None] ** np.arange(degree + 1)
    return np.linalg.lstsq(weights[:, None] * powers, (weights * logs).T, rcond=None)[0]
