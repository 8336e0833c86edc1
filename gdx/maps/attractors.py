"""Which runs of a map end in one and the same attractor, as numbers that a picture can colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gdx.checks import check_number

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy.typing import ArrayLike

FAR = (0.01, 0.99)
"""Shares of the points between which their extent is measured."""
SAME = 0.2
"""Share of the distance within which neighbours are alike, within which points anywhere on a map are."""


def attractors(points: ArrayLike, is_there: ArrayLike | None = None, *, alike: float = 0.05) -> Int[np.ndarray, "Y X"]:
    """Number the attractors that runs end in, the most frequent first.

    Neighbours on the map end in the same one where their points are close, so that an attractor keeps its number while
    it moves with the hyperparameters. Parts of the map that do not touch share a number where points of theirs are
    closer still.

    Parameters
    ----------
    points
        One point an attractor, as `gdx.observers.attractor` gives it: [Y, X, D], or [Y, X].
    is_there
        bool [Y, X]: which runs came to rest or cycle; by default all whose points are finite. The others have none.
    alike
        Distance of neighbours' points, in units of the extent of all points together, up to which they are one. Points
        far off, of one cell in a hundred, do not count for the extent.

    Returns
    -------
    array
        int32 [Y, X], from 0 on; -1 where there is none.

    Raises
    ------
    ValueError
        If shapes do not fit or `alike` is no number above 0.

    Notes
    -----
    A valley of minima is one attractor by this, since its points touch. Runs that wander have no point of their own:
    leave them out with `is_there`, such as `gdx.verdicts(runs)` being CONVERGED or CYCLING.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> ends = np.array([[1.0, 1.01, -1.0], [1.0, np.nan, -1.0]])
    >>> gdx.maps.attractors(ends)
    array([[ 0,  0,  1],
           [ 0, -1,  1]], dtype=int32)
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    check_number("alike", alike, 0, np.inf, "pass a share of the points' extent, such as .05")
    there, finite, shape = _checked(points, is_there)
    labels = np.full(shape, -1, np.int32)
    if not finite.any():
        return labels
    number = np.full(shape, -1)
    number[finite] = np.arange(np.count_nonzero(finite))
    ends = there[finite]
    # Where nearly all are one, it is the others that have an extent.
    extent = _extent(ends, FAR) or _extent(ends, (0.0, 1.0))
    links = [_neighbours(number, there, alike * extent), _anywhere(ends, SAME * alike * extent)]
    rows, columns = (np.concatenate(part) for part in zip(*links, strict=True))
    size = len(ends)
    joined = coo_matrix((np.ones(rows.size, bool), (rows, columns)), shape=(size, size))
    component = connected_components(joined, directed=False)[1]
    order = np.argsort(-np.bincount(component), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    labels[finite] = rank[component]
    return labels


def _checked(points, is_there):
    there = np.asarray(points, float)
    if there.ndim == 2:
        there = there[:, :, None]
    if there.ndim != 3:
        raise ValueError(f"points: shape {there.shape} is no map; pass [Y, X, D], one point a cell")
    finite = np.all(np.isfinite(there), axis=2)
    if is_there is not None:
        mask = np.asarray(is_there)
        if mask.shape != there.shape[:2] or mask.dtype != bool:
            raise ValueError(
                f"is_there: {mask.dtype}{list(mask.shape)} does not fit; pass bool {list(there.shape[:2])}"
            )
        finite &= mask
    return there, finite, there.shape[:2]


def _extent(ends, shares):
    return float(np.linalg.norm(np.diff(np.quantile(ends, shares, axis=0, method="nearest"), axis=0)))


def _neighbours(number, there, distance):
    """Pairs of cells side by side whose points are close."""
    found = []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        both = (number[one] >= 0) & (number[other] >= 0)
        with np.errstate(invalid="ignore"):
            is_close = both & (np.linalg.norm(there[one] - there[other], axis=2) <= distance)
        found.append((number[one][is_close], number[other][is_close]))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _anywhere(ends, distance):
    """Pairs of points that are the same wherever they are, through one that stands for each."""
    from scipy.spatial import KDTree

    if not distance > 0:
        return np.zeros(len(ends) - 1, int), np.arange(1, len(ends))
    rounded = np.round(ends / distance)
    _, first, inverse = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    pairs = KDTree(ends[first]).query_pairs(distance, output_type="ndarray")
    stands = first[inverse.ravel()]
    rows = np.concatenate([np.arange(len(ends)), first[pairs[:, 0]]])
    return rows, np.concatenate([stands, first[pairs[:, 1]]])
