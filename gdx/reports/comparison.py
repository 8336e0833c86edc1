"""Paths of several optimizers as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gdx.studies import Comparison


def comparison_json(found: Comparison, files: Sequence[str]) -> dict[str, Any]:
    """Put what became of every path into one dict, without its points.

    Parameters
    ----------
    found
        The study's values.
    files
        Paths written.

    Returns
    -------
    dict

    Examples
    --------
    Continues the example of `gdx.studies.compare`.

    >>> from gdx.reports import comparison_json
    >>> [path["optimizer"] for path in comparison_json(found, [])["paths"]]
    ['sgd', 'momentum']
    """
    return {
        "landscape": found.landscape.name,
        "start": found.start,
        "num_steps": found.num_steps,
        "minimum": found.minimum,
        "paths": [
            {
                "optimizer": path.name,
                "step_size": path.step_size,
                "first_loss": path.loss[0],
                "last_loss": path.loss[-1],
                "last_params": path.params[-1],
                "left_window_at": path.left_at,
                "nonfinite_at": path.nonfinite_at,
            }
            for path in found.paths
        ],
        "files": list(files),
    }
