"""Powers of width, with what they are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gdx.edges import Bracket
from gdx.studies.transfer.found import Cell, Law, LinearCell

CLEAR = 0.25
"""Exponents that theory knows are multiples of a half: what lies within this of a number is told from the next one."""
ERRORS = 2.0
"""Standard errors that an interval reaches to either side."""
FEWEST = 3
"""Widths that make a law; through two goes any."""


def law_of(
    parameterisation: str, of: str, axis: str, at: int, sizes: Sequence[int], values: Sequence[float], errors
) -> Law:
    """Fit a power of width or depth.

    Parameters
    ----------
    parameterisation, of, axis, at
        As in `Law`.
    sizes
        Widths or depths, [P].
    values, errors
        Step sizes there, [P], NaN where there is none, and standard errors of their logarithms.

    Returns
    -------
    Law
        "transfers" is said where 0 lies within two standard errors of the slope and nothing else that theory knows
        does, which is -1/2 and beyond: all of that interval is within a quarter of 0. That it falls or rises is said
        where the interval is no wider than that and 0 lies outside.
    """
    seen = np.isfinite(values) & np.isfinite(errors)
    x, y = np.log(np.asarray(sizes, float)[seen]), np.log(np.asarray(values, float)[seen])
    u = np.asarray(errors, float)[seen]
    if len(x) < 2:
        note = f"there is a number at {len(x)} of {len(seen)} {axis}s"
        return Law(parameterisation, of, axis, at, math.nan, math.nan, len(x), "", note)
    away = x - x.mean()
    weights = away / np.sum(away**2)
    slope = float(weights @ y)
    error = float(np.sqrt(np.sum((weights * u) ** 2)))
    if len(x) > 2:
        scatter = y - y.mean() - slope * away
        error = max(error, float(np.sqrt(np.sum(scatter**2) / (len(x) - 2) / np.sum(away**2))))
    verdict, note = _verdict(slope, error, axis, len(x))
    return Law(parameterisation, of, axis, at, slope, error, len(x), verdict, note)


def laws_of(cells: Sequence[Cell]) -> tuple[Law, ...]:
    """Fit edges and best step sizes against width and against depth, where there are several.

    Parameters
    ----------
    cells
        All networks.

    Returns
    -------
    tuple of Law
    """
    found = []
    for axis, other in (("width", "depth"), ("depth", "width")):
        if len({getattr(cell, axis) for cell in cells}) < 2:
            continue
        lines = dict.fromkeys((cell.parameterisation, getattr(cell, other)) for cell in cells)
        for name, at in lines:
            mine = [cell for cell in cells if (cell.parameterisation, getattr(cell, other)) == (name, at)]
            sizes = [getattr(cell, axis) for cell in mine]
            for of, read in (("edge", _edge_and_error), ("best", _best_and_error)):
                values, errors = zip(*map(read, mine), strict=True)
                found.append(law_of(name, of, axis, at, sizes, values, errors))
    return tuple(found)


def linear_laws_of(cells: Sequence[LinearCell]) -> tuple[Law, ...]:
    """Fit edges of linear networks against width, measured and predicted.

    Parameters
    ----------
    cells
        All of them.

    Returns
    -------
    tuple of Law
        Of the start that fails first, as for networks.
    """
    found = []
    if len({cell.width for cell in cells}) < 2:
        return ()
    for name in dict.fromkeys(cell.parameterisation for cell in cells):
        mine = [cell for cell in cells if cell.parameterisation == name]
        widths = [cell.width for cell in mine]
        spreads = [float(np.max(cell.predicted) / np.min(cell.predicted)) for cell in mine]
        measured = [_with_error(cell.edge, spread) for cell, spread in zip(mine, spreads, strict=True)]
        predicted = [(float(np.min(cell.predicted)), _of_spread(one)) for cell, one in zip(mine, spreads, strict=True)]
        for of, pairs in (("linear edge", measured), ("closed form", predicted)):
            values, errors = zip(*pairs, strict=True)
            found.append(law_of(name, of, "width", 1, widths, values, errors))
    return tuple(found)


def _edge_and_error(cell):
    return _with_error(cell.edge, cell.spread)


def _best_and_error(cell):
    """Geometric mean of the starts' own bests, which stand on a grid and differ from start to start."""
    if not math.isfinite(cell.best) or not np.all(np.isfinite(cell.bests)):
        return math.nan, math.nan
    own, sizes = np.log(cell.bests), np.log(cell.curve.step_sizes)
    at = np.searchsorted(sizes, own)
    if at.min() == 0 or at.max() == len(sizes) - 1:
        # Where the scan ended there may be a better one beyond.
        return math.nan, math.nan
    grid = float(np.mean(sizes[at + 1] - sizes[at - 1])) / 2 / math.sqrt(12)
    sampling = float(np.std(own, ddof=1)) / math.sqrt(len(own)) if len(own) > 1 else 0.0
    return math.exp(float(np.mean(own))), math.hypot(grid, sampling)


def _with_error(pair: Bracket, spread):
    """Middle of a bracket, and the standard error of its logarithm."""
    if not (0 < pair.lower <= pair.upper < math.inf and math.isfinite(spread)):
        return math.nan, math.nan
    return math.sqrt(pair.lower * pair.upper), math.hypot(_uniform(*pair), _of_spread(spread))


def _uniform(lower, upper):
    """Standard deviation of the logarithm of what may lie anywhere between two numbers."""
    return math.log(upper / lower) / math.sqrt(12)


def _of_spread(factor):
    """Half the range of a few starts, which is about the standard deviation of one of them."""
    return math.log(factor) / 2


def _verdict(slope, error, axis, num_points):
    if num_points < FEWEST:
        return "", f"{num_points} {axis}s make no law; take {FEWEST} or more"
    reach = ERRORS * error
    low, high = slope - reach, slope + reach
    if reach <= CLEAR and low <= 0 <= high and max(-low, high) <= CLEAR:
        return "transfers", ""
    if reach <= CLEAR and not low <= 0 <= high:
        return f"{'falls' if slope < 0 else 'rises'} as {axis}^{slope:+.2f}", ""
    return "", f"open: {low:+.2f} to {high:+.2f}"
