"""The problems that optimizers are compared on, and how long a run on each is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from gdx.problems import Problem, catalogue
from gdx.records import record


@record
class AtlasProblem(NamedTuple):
    """A problem of the atlas.

    Examples
    --------
    >>> import gdx
    >>> gdx.studies.ATLAS_PROBLEMS["ravine"].criterion
    'converged'
    """

    make: Callable[[], Problem]
    """`make() -> Problem`."""
    line: str
    """What it is."""
    num_steps: int
    """The horizon, steps."""
    criterion: str
    """What the edge is about: "converged" where runs come to rest, "trains" where they learn."""
    is_quadratic: bool = False
    """Whether the loss is one, so that linear theory says where runs fail and not only beyond what they cannot rest."""
    slots: int | None = None
    """Lanes at once a worker; None for the rule."""


def _named(name, num_steps, criterion, line="", is_quadratic=False, slots=None, **options):
    entry = catalogue()[name]
    make = functools.partial(entry.make, **options)
    return AtlasProblem(make, line or entry.line, num_steps, criterion, is_quadratic, slots)


ATLAS_PROBLEMS = {
    "quadratic": _named("quadratic", 2000, "converged", is_quadratic=True),
    "ravine": _named("ravine", 2000, "converged", is_quadratic=True),
    "linear-network": _named("linear-network", 2000, "converged"),
    "breast-cancer": _named("breast-cancer", 500, "trains"),
    "digits-mlp": _named(
        "digits-mlp", 300, "trains", "tanh network 64-16-10 on the digits, batches of 64, real", batch_size=64
    ),
    # One lane: attention of several side by side compiles for twice as long and runs no faster.
    "sonnets": _named("sonnets", 200, "trains", slots=1),
}
"""By name, from what is known in closed form to what people train.

Examples
--------
>>> import gdx
>>> len(gdx.studies.ATLAS_PROBLEMS)
6
"""
