"""Optimizers by name, with the hyperparameters they take."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gdx.optimizers.entries import LEFT_OUT, TABLE
from gdx.records import record

if TYPE_CHECKING:
    import optax

STEP_SIZE_NAMES = ("learning_rate", "step_size", "max_learning_rate")
COEFFICIENTS = ("momentum", "decay", "decay_rate", "b1", "b2", "b3", "beta", "rho")
"""Hyperparameters that weigh the past against the present."""
SHARES = ("slope_rtol", "curv_rtol", "c1", "c2", "decrease_factor", "eta_minus")
UNBOUNDED = ("f_min", "lower_bound", "alpha")
OPTIONAL = ("momentum", "clipping_threshold", "clip_threshold", "consistent_rms", "beta3")
"""Numbers that some optimizers take and that are off, None, by default."""
NO_NUMBERS = ("verbose", "print_win_rate_every_n_steps", "weight_decay_mask", "trust_ratio_mask")
"""Keywords whose defaults look like numbers or switches of a method and are none."""


@record
class Hyperparameter(NamedTuple):
    """A number or a switch that an optimizer takes by keyword."""

    default: float | bool | None
    """None for one that is off."""
    low: float
    """Smallest that is allowed, or next to it."""
    high: float
    """Never reached."""
    includes_low: bool
    """Whether `low` itself is allowed."""

    @property
    def range(self) -> str:
        """The allowed values in words."""
        if isinstance(self.default, bool):
            return "true or false"
        kind = "whole, " if isinstance(self.default, int) else ""
        return f"{kind}{'[' if self.includes_low else '('}{self.low:g}, {self.high:g})"

    def holds(self, value: float) -> bool:
        """Say whether a value is allowed.

        Parameters
        ----------
        value
            A number.

        Returns
        -------
        bool
        """
        return (self.low <= value if self.includes_low else self.low < value) and value < self.high


@record
class OptimizerEntry(NamedTuple):
    """A named optimizer."""

    make: Callable[..., optax.GradientTransformation]
    """Takes the step size first, hyperparameters by keyword."""
    line: str
    """What it is for."""
    family: str
    """Of methods: "gradient", "adaptive", "sign", "layer-wise", "parameter-free", "line search", "second order" or
    "coordinate"."""
    source: str
    """Paper, textbook or library that defines it."""

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """Numbers and switches that it takes by keyword, with defaults and ranges.

        Any floating one may be traced and swept. Whole numbers and switches are static.
        """
        parameters = inspect.signature(self.make).parameters.values()
        return {
            parameter.name: _hyperparameter(parameter.name, parameter.default)
            for parameter in parameters
            if parameter.name not in STEP_SIZE_NAMES + NO_NUMBERS
            and (isinstance(parameter.default, (int, float)) or parameter.name in OPTIONAL)
        }

    @property
    def defaults(self) -> dict[str, float | bool | None]:
        """The hyperparameters' defaults alone."""
        return {name: hyperparameter.default for name, hyperparameter in self.hyperparameters.items()}


def catalogue() -> dict[str, OptimizerEntry]:
    """Give every named optimizer whose step size can be swept.

    Returns
    -------
    dict
        Name to `OptimizerEntry`, grouped by family. Optax's own functions are there unchanged, under optax's names
        where there is no older one.
    """
    return {
        name: OptimizerEntry(make, line, family, source)
        for family, rows in TABLE.items()
        for name, make, line, source in rows
    }


def left_out() -> dict[str, str]:
    """Give what optax ships and the catalogue does not hold, each with the reason.

    Returns
    -------
    dict
    """
    return dict(LEFT_OUT)


def family(
    name: str, hyperparameters: Mapping[str, Any] | None = None
) -> Callable[[Any], optax.GradientTransformation]:
    """Make the family of a named optimizer at fixed hyperparameters.

    Parameters
    ----------
    name
        One of `catalogue()`.
    hyperparameters
        Numbers and switches by the optimizer's own names.

    Returns
    -------
    callable
        `step_size -> optax transformation`.

    Raises
    ------
    ValueError
        If there is no such optimizer, it does not take a hyperparameter, or a value is no number in its range.
    """
    entries = catalogue()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see gdx list"
        raise ValueError(f"optimizer: {name!r} is unknown; {remedy}")
    taken, given = entries[name].hyperparameters, dict(hyperparameters or {})
    for key, value in given.items():
        if key not in taken:
            raise ValueError(f"{key}: the optimizer {name} does not take it; it takes {', '.join(taken) or 'none'}")
        given[key] = _checked(key, value, taken[key])
    made = functools.partial(entries[name].make, **given)
    # Constraints between two of them, such as c1 < c2, are the optimizer's own to check, and at once.
    made(1.0)
    return made


def _hyperparameter(name, default):
    if name == "c":
        return Hyperparameter(default, 0.0, 0.5, False)
    if name in SHARES:
        return Hyperparameter(default, 0.0, 1.0, False)
    if name in UNBOUNDED:
        return Hyperparameter(default, -math.inf, math.inf, False)
    # Optimistic methods call a strength beta that is 1 by default.
    if name in COEFFICIENTS and (default is None or default < 1):
        return Hyperparameter(default, 0.0, 1.0, True)
    if isinstance(default, int) and not isinstance(default, bool) and default > 0:
        return Hyperparameter(default, 1, math.inf, True)
    return Hyperparameter(default, 0.0, math.inf, True)


def _checked(key, value, hyperparameter):
    default = hyperparameter.default
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{key}: {value!r} is no switch; pass true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key}: {value!r} is no number; pass one, as in --set {key}=0.9")
    if not hyperparameter.holds(value):
        usual = "the usual value is 0.9" if default is None else f"the default is {default}"
        raise ValueError(f"{key}: {value} is outside {hyperparameter.range}; {usual}")
    if isinstance(default, int):
        if value != int(value):
            raise ValueError(f"{key}: {value} is no whole number; the default is {default}")
        return int(value)
    return value
