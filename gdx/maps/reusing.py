"""What a map takes over from former ones: runs of cells that stand at the same places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.maps.axes import coinciding
from gdx.maps.found import PhaseMap
from gdx.maps.judging import Judged
from gdx.trees import rows
from gdx.verdicts import criterion_name

if TYPE_CHECKING:
    from gdx.maps.evaluating import Cells


def take_over(cells: Cells, formers: Sequence[PhaseMap], like: dict[str, Any]) -> int:
    """Let cells have the runs of former maps that were made at their places.

    Parameters
    ----------
    cells
        Their criterion is decided.
    formers
        Maps; those of other hyperparameters are passed over.
    like
        What must be the same of both: fields of a `PhaseMap` with their values.

    Returns
    -------
    int
        Cells that were taken over.

    Raises
    ------
    ValueError
        If a former map is of other axes, starts, horizon, tolerance, criterion or fixed hyperparameters.
    """
    taken = 0
    for former in formers:
        _check_same(former, cells, like)
        own, theirs = _places(cells, former)
        new = ~np.isin(own, cells.cells)
        own, theirs = own[new], theirs[new]
        if own.size == 0:
            continue
        if cells.compares:
            cells.take(own, None, rows(former.runs, theirs))
        else:
            kept = Judged(former.run_answers, former.verdicts, former.facts, former.observed)
            cells.take(own, rows(kept, theirs), None)
        taken += own.size
    return taken


def _places(cells, former):
    """Cells of the new map and, of the former's, which of those that were run stand there."""
    across, down = cells.lines
    columns, their_columns = coinciding(across, former.across)
    lines, their_lines = coinciding(down, former.down)
    at = np.full(former.answers.size, -1)
    at[former.cells] = np.arange(former.cells.size)
    index = at.reshape(former.answers.shape)[np.ix_(their_lines, their_columns)]
    own = lines[:, None] * across.num_cells + columns
    return own[index >= 0], index[index >= 0]


def _check_same(former, cells, like):
    own = like | {"criterion": criterion_name(cells.criterion)}
    if former.starts != own.pop("starts"):
        raise ValueError("former: it is of other starts; pass a map of the same keys, or none")
    if former.names != own.pop("names"):
        raise ValueError(f"former: it is of {' and '.join(former.names)}; pass a map of the same axes, or none")
    for name, value in own.items():
        if getattr(former, name) != value:
            raise ValueError(
                f"former: its {name} is {getattr(former, name)!r}, not {value!r}; pass a map of the same runs, or none"
            )
