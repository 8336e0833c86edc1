"""What a cell that was filled in is said to be, beside its label: as the nearest cell of its kind that was run."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdx.maps.judging import Judged, verdict_of
from gdx.verdicts import Answer


def filled_in(
    labels: np.ndarray, computed: np.ndarray, cells: np.ndarray, kept: Judged, follow: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tell answers, shares of the keys that succeed and verdicts of all cells.

    Parameters
    ----------
    labels, computed
        [Y, X], as refined.
    cells, kept
        Those that were run, [C], and what is kept of them.
    follow
        What labels are of.

    Returns
    -------
    answers, share, verdict
        [Y, X] each.
    """
    known = labels >= 0
    codes = np.where(known, labels % len(Answer), Answer.UNDECIDED).astype(np.int8)
    nearest = nearest_alike(np.where(known, codes, -1), computed)
    share, verdict = np.full(labels.shape, np.nan), np.full(labels.shape, -1)
    share.flat[cells] = np.mean(kept.answers == Answer.MET, axis=1)
    verdict.flat[cells] = verdict_of(kept.verdicts)
    share, verdict = share[nearest], verdict[nearest]
    if follow == "verdicts":
        verdict = np.where(known, labels // len(Answer), verdict)
    return codes, np.where(known, share, np.nan), np.where(known, verdict, -1).astype(np.int8)


def nearest_alike(labels: np.ndarray, computed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest computed cell with the label of each.

    Parameters
    ----------
    labels, computed
        [Y, X].

    Returns
    -------
    array, array
        Its row and column, [Y, X]; a cell's own where there is none.
    """
    from scipy.ndimage import distance_transform_edt

    found = np.indices(labels.shape)
    for label in np.unique(labels):
        own = labels == label
        if np.any(own & computed) and np.any(own & ~computed):
            nearest: Any = distance_transform_edt(~(own & computed), return_distances=False, return_indices=True)
            found = np.where(own, nearest, found)
    return found[0], found[1]
