"""Landscapes of two parameters by name, each with the window, the start and the horizon that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.problems.base import Problem
from gdx.problems.landscapes import (
    HIMMELBLAU_MINIMA,
    WINDOWS,
    Window,
    beale,
    booth,
    double_well,
    himmelblau,
    monkey_saddle,
    plateau,
    ravine,
    rippled_bowl,
    rosenbrock,
    saddle,
)
from gdx.records import record

if TYPE_CHECKING:
    from jaxtyping import Float

TEST_FUNCTIONS = "More, Garbow and Hillstrom 1981, doi 10.1145/355934.355936"


@record
class Landscape(NamedTuple):
    """A named surface and how to look at it where nobody says otherwise."""

    name: str
    """In `gdx list landscapes`."""
    make: Callable[..., Problem]
    """`make(start=None)`; the start is a point [2], or else uniform in the window, from the repeat's key."""
    line: str
    """What it is."""
    window: Window
    """Lowest and highest x, lowest and highest y."""
    start: tuple[float, float]
    """Where paths begin, a point in the window."""
    num_steps: int
    """Steps of a path."""
    minima: Float[np.ndarray, "n 2"] = np.empty((0, 2))
    """Global minima; none where the loss has no lower bound."""
    saddle: tuple[float, float] | None = None
    """The saddle, where the landscape is about one."""
    source: str = ""
    """Paper or textbook."""


def landscape_catalogue() -> dict[str, Landscape]:
    """Give every named landscape of two parameters.

    Returns
    -------
    dict
        Name to `Landscape`.
    """
    origin, wells = np.zeros((1, 2)), np.array([[-1.0, 0.0], [1.0, 0.0]])
    landscapes = (
        Landscape(
            "ravine",
            ravine,
            "long quadratic ravine across the axes, condition 50",
            WINDOWS["ravine"],
            (-3.5, -0.5),
            150,
            origin,
        ),
        Landscape(
            "rosenbrock",
            rosenbrock,
            "Rosenbrock's curved valley: down at once, then along its floor",
            WINDOWS["rosenbrock"],
            (-1.2, 1.0),
            1000,
            np.ones((1, 2)),
            source="Rosenbrock 1960, doi 10.1093/comjnl/3.3.175",
        ),
        Landscape(
            "beale",
            beale,
            "Beale's function: flat floor between walls of fourth and sixth power",
            WINDOWS["beale"],
            (1.0, 1.0),
            500,
            np.array([[3.0, 0.5]]),
            source=TEST_FUNCTIONS,
        ),
        Landscape(
            "himmelblau",
            himmelblau,
            "Himmelblau's function: four equal minima around a hill",
            WINDOWS["himmelblau"],
            (-0.3, -0.6),
            100,
            np.array(HIMMELBLAU_MINIMA),
            source="Himmelblau, Applied Nonlinear Programming, 1972",
        ),
        Landscape(
            "booth",
            booth,
            "Booth's function: a tilted quadratic, condition 9",
            WINDOWS["booth"],
            (-3.9, 5.3),
            100,
            np.array([[1.0, 3.0]]),
        ),
        Landscape(
            "saddle",
            saddle,
            "x^2 - y^2: how soon a method leaves a saddle",
            WINDOWS["saddle"],
            (-1.5, 0.01),
            60,
            saddle=(0.0, 0.0),
        ),
        Landscape(
            "monkey-saddle",
            monkey_saddle,
            "x^3 - 3xy^2: a saddle without curvature",
            WINDOWS["monkey-saddle"],
            (1.3, 0.02),
            100,
            saddle=(0.0, 0.0),
        ),
        Landscape(
            "double-well",
            double_well,
            "two wells either side of a saddle",
            WINDOWS["double-well"],
            (0.05, 1.5),
            100,
            wells,
            (0.0, 0.0),
        ),
        Landscape(
            "plateau", plateau, "a well in a plain that is almost flat", WINDOWS["plateau"], (-3.45, 1.42), 300, origin
        ),
        Landscape(
            "rippled-bowl",
            rippled_bowl,
            "a bowl with nine minima, one of them the lowest",
            WINDOWS["rippled-bowl"],
            (-2.6, 1.7),
            100,
            origin,
        ),
    )
    return {landscape.name: landscape for landscape in landscapes}
