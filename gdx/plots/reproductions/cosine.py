"""The cosine's counts as a published picture."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.cosine import cosine_changes

if TYPE_CHECKING:
    from gdx.studies.reproductions import CosineFractal

TITLE_WIDTH = 110


def cosine_fractal(found: CosineFractal, *, title: str = "") -> np.ndarray:
    """Draw counts against the published ones, and where runs fail.

    Parameters
    ----------
    found
        From `gdx.studies.cosine_fractal`.
    title
        Above the picture.

    Returns
    -------
    array of Axes

    Examples
    --------
    Continues the example of `gdx.studies.cosine_fractal`.

    >>> gdx.plots.cosine_fractal(found).size
    2
    """
    left, right = cosine_changes(found.changes)
    left.figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=11)
    return np.array([left, right])
