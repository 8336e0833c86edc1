"""Problems by name, each with the horizon and the grid that show its transition."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gdx.problems.base import Problem
from gdx.problems.factorizations import linear_network, scalar_factorization
from gdx.problems.landscapes import landscape_catalogue
from gdx.problems.networks import digits_mlp
from gdx.problems.quadratics import quadratic
from gdx.problems.regression import least_squares, logistic_regression
from gdx.problems.transformers import character_transformer
from gdx.problems.wells import hard_partner, quartic
from gdx.records import record


@record
class ProblemEntry(NamedTuple):
    """A named problem and how to look at it where nobody says otherwise.

    Examples
    --------
    >>> import gdx
    >>> entry = gdx.problems.catalogue()["digits-mlp"]
    >>> entry.num_steps, entry.repeats, entry.criterion
    (300, 4, 'trains')
    """

    make: Callable[..., Problem]
    """`make() -> Problem`, with keywords for data."""
    line: str
    """What it is."""
    num_steps: int = 4000
    """The horizon, steps."""
    num_points: int = 64
    """Step sizes of a grid, S."""
    repeats: int = 32
    """Starts, R."""
    criterion: str | None = "converged"
    """None for what suits the problem."""
    tolerance: float = 1e-6
    """Of convergence, relative to the first gradient norm."""
    rtol: float | None = None
    """Width at which edges are good enough, relative; None for what suits the criterion."""

    @property
    def takes_scale(self) -> bool:
        """Whether the problem is data whose features can be scaled."""
        return "scale" in inspect.signature(self.make).parameters

    @property
    def takes_batches(self) -> bool:
        """Whether the problem is a mean over examples that can be cut into batches."""
        return "batch_size" in inspect.signature(self.make).parameters


def catalogue() -> dict[str, ProblemEntry]:
    """Give every named problem.

    Returns
    -------
    dict
        Name to `ProblemEntry`, in the order of a first reading.

    Examples
    --------
    >>> import gdx
    >>> list(gdx.problems.catalogue())[:3]
    ['linear-network', 'quadratic', 'scalar-factorization']
    """
    whitened = functools.partial(linear_network, (3, 3, 3), singular_values=(1.0, 0.6, 0.3))
    real = {"num_steps": 5000, "num_points": 40, "repeats": 4, "tolerance": 1e-4, "rtol": 1e-3}
    surfaces = {name: one for name, one in landscape_catalogue().items() if one.sweep is not None}
    return {
        "linear-network": ProblemEntry(
            whitened, "two-layer linear network on whitened data, singular values 1, .6, .3", num_points=128
        ),
        "quadratic": ProblemEntry(
            functools.partial(quadratic, np.array([1.0, 3.0, 10.0])), "quadratic bowl with curvatures 1, 3, 10"
        ),
        "scalar-factorization": ProblemEntry(scalar_factorization, "(xy - 1)^2 / 2, a hyperbola of minima"),
        "quartic": ProblemEntry(quartic, "double well (w^2 - 1)^2 / 4: cycles, period doubling, chaos"),
        "hard-partner": ProblemEntry(hard_partner, "x^2/2 + x^4/4: beyond its basin a run escapes at once"),
        "breast-cancer": ProblemEntry(
            functools.partial(logistic_regression, "breast-cancer"),
            "logistic regression with a little l2, 569 x 30, real",
            **real,
        ),
        "diabetes": ProblemEntry(functools.partial(least_squares, "diabetes"), "least squares, 442 x 10, real", **real),
        "digits": ProblemEntry(
            functools.partial(logistic_regression, "digits"),
            "softmax regression with a little l2, 1797 x 64, ten classes, real",
            **(real | {"num_steps": 500, "num_points": 32, "criterion": "stable", "rtol": 1e-2}),
        ),
        "digits-mlp": ProblemEntry(
            digits_mlp,
            "tanh network 64-16-10 on the digits, full batch, real",
            **(real | {"num_steps": 300, "num_points": 32, "criterion": "trains", "rtol": None}),
        ),
        "sonnets": ProblemEntry(
            character_transformer,
            "one-block transformer on the characters of four sonnets, batches of 16 windows",
            num_steps=200,
            num_points=32,
            repeats=3,
            criterion="trains",
        ),
        **{name: ProblemEntry(one.make, one.line, **(one.sweep or {})) for name, one in surfaces.items()},
    }
