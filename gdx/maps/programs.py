"""The sweeps of a map: one, or one a value of what is static."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdx.edges.inputs import check_run, needed
from gdx.maps.arriving import ARRIVAL, arrival
from gdx.maps.axes import Axis
from gdx.maps.handing import handed
from gdx.sweeps import Sweep, sweep
from gdx.sweeps.driver import FACTS


class Programs:
    """Sweeps by their static hyperparameters, each compiled once.

    Attributes
    ----------
    varied : dict
        What is the same in all cells and handed to a sweep nevertheless, which takes a dict of all.
    """

    def __init__(
        self,
        problem: Any,
        family: Any,
        axes: tuple[Axis, Axis],
        fixed: dict[str, Any],
        num_steps: int | None,
        tolerance: float | None,
        run: Sweep | None,
        options: dict[str, Any],
    ):
        self.run, self.varied, self.made = run, dict(fixed) if run is not None else {}, {}
        if run is not None:
            check_run(run, problem, family, num_steps, options.pop("tail", None))
            _refuse_beside_run(options, axes)
            return
        self.problem, self.family = needed("problem", problem), needed("family", family)
        self.names = [axis.name for axis in axes if not axis.static]
        self.fixed = fixed
        options = dict(options) | {"num_steps": num_steps, "tolerance": 1e-6 if tolerance is None else tolerance}
        if num_steps is None:
            raise ValueError("num_steps: it is None; pass the horizon in steps, or a sweep as run")
        _check_options(options)
        if "gradient" in options.get("facts", FACTS):
            observers = options.get("observers") or {}
            if isinstance(observers, Mapping) and ARRIVAL not in observers:
                options["observers"] = {**observers, ARRIVAL: arrival(options["tolerance"])}
        self.options = options

    def __call__(self, static: tuple[Any, ...]) -> Sweep:
        """Give the sweep of static hyperparameters, pairs of name and value."""
        if self.run is not None:
            return self.run
        if static not in self.made:
            both = handed(self.problem, self.family, self.names, {**self.fixed, **dict(static)})
            self.made[static] = sweep(both.problem, both.family, **self.options)
        return self.made[static]

    @property
    def compile_seconds(self) -> float:
        """Spent so far."""
        sweeps = self.made.values() if self.run is None else [self.run]
        return sum(one.compile_seconds for one in sweeps)


def _check_options(options):
    taken = [name for name in inspect.signature(sweep).parameters if name not in ("problem", "family")]
    for name in options:
        if name not in taken:
            near = difflib.get_close_matches(name, taken, n=2, cutoff=0.4) or taken
            raise ValueError(f"{name}: neither phase_map nor gdx.sweep takes it; did you mean {' or '.join(near)}?")


def _refuse_beside_run(options, axes):
    for name in options:
        raise ValueError(f"{name}: it is the business of the sweep passed as run; make that with it")
    for axis in axes:
        if axis.static:
            raise ValueError(f"run: the axis {axis.name} is static, a program a value; leave run out")


def check_at(at: Mapping[str, Any] | None, axes: tuple[str, ...]) -> dict[str, Any]:
    """Refuse what cannot be fixed beside the axes.

    Parameters
    ----------
    at
        Name to number, or None.
    axes
        Names that vary.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If one varies, or is no finite number.
    """
    fixed = dict(at or {})
    for name, value in fixed.items():
        if name in axes:
            raise ValueError(f"at: {name!r} is an axis; leave it out")
        if not isinstance(value, (bool, int, float, np.generic)) or not math.isfinite(value):
            raise ValueError(f"at: {name} is {value!r}, no finite number; pass one, or bind it with functools.partial")
    return fixed
