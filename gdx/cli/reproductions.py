"""Published pictures by name: a row each. To add one, write its study and its plot, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gdx import plots, studies


class Reproduction(NamedTuple):
    """One published picture."""

    name: str
    """On the command line, and of the files."""
    line: str
    """What it shows."""
    source: str
    """Where it was published."""
    study: Callable[..., Any]
    """`study(repeats=, quick=, seed=, progress=) -> value` with `claims`, `notes`, `num_runs` and `seconds`."""
    plot: Callable[..., Any]
    """`plot(value, title=)`, into a new figure."""


REPRODUCTIONS = (
    Reproduction(
        "critical-step",
        "nothing converges above eta_crit, whatever the start: linear networks, digits, and two losses without one",
        "arXiv 2402.13108",
        studies.critical_step,
        plots.critical_step,
    ),
    Reproduction(
        "catapult",
        "lazy below 2 / curvature, flung to flatter places up to 4 / curvature, divergence beyond",
        "arXiv 2003.02218",
        studies.catapult,
        plots.catapult,
    ),
    Reproduction(
        "edge-of-stability",
        "sharpness against time: plateaus at 2 / step size, at 38 / step size under Adam",
        "arXiv 2103.00065, 2207.14484",
        studies.edge_of_stability,
        plots.edge_of_stability,
    ),
    Reproduction(
        "factorization-basin",
        "the starts from which a factorization converges fill an ellipse",
        "arXiv 2509.25351",
        studies.factorization_basin,
        plots.factorization_basin,
    ),
    Reproduction(
        "trainability",
        "which step sizes of its two layers train a small network: six conditions",
        "arXiv 2402.06184",
        studies.trainability,
        plots.trainability,
    ),
    Reproduction(
        "cosine-fractal",
        "a parabola with a cosine: how often the verdict changes along a line of step sizes",
        "arXiv 2406.13971",
        studies.cosine_fractal,
        plots.cosine_fractal,
    ),
)


def named_reproduction(name: str) -> Reproduction:
    """Find a picture by name.

    Parameters
    ----------
    name
        As in the table.

    Returns
    -------
    Reproduction

    Raises
    ------
    ValueError
        If there is none, with the names that there are.
    """
    rows = {row.name: row for row in REPRODUCTIONS}
    if name not in rows:
        raise ValueError(f"name: {name!r} is no picture; choose {', '.join(rows)}")
    return rows[name]
