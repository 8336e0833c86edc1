"""Optimizers by name, with the hyperparameters they take."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gdx.optimizers.table import AT_LEAST_0, LEFT_OUT, TABLE, USUAL_RANGES, Range
from gdx.records import record

if TYPE_CHECKING:
    import optax

STEP_SIZE_NAMES = ("learning_rate", "step_size", "max_learning_rate")
NO_NUMBERS = ("verbose", "print_win_rate_every_n_steps", "weight_decay_mask", "trust_ratio_mask")
"""Keywords whose defaults look like numbers or switches of a method and are none."""


@record
class Hyperparameter(NamedTuple):
    """A number or a switch that an optimizer takes by keyword.

    Examples
    --------
    >>> import gdx
    >>> gdx.optimizers.catalogue()["momentum"].hyperparameters["momentum"].range
    '[0, 1)'
    """

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
    """A named optimizer.

    Examples
    --------
    >>> import gdx
    >>> entry = gdx.optimizers.catalogue()["adam"]
    >>> entry.group, entry.has_threshold, sorted(entry.hyperparameters)
    ('adaptive', True, ['b1', 'b2', 'eps', 'eps_root', 'nesterov'])
    """

    make: Callable[..., optax.GradientTransformation]
    """Takes the step size first, hyperparameters by keyword."""
    line: str
    """What it is for."""
    group: str
    """Of methods: "gradient", "adaptive", "sign", "layer-wise", "parameter-free", "line search", "second order" or
    "coordinate"."""
    source: str
    """Paper, textbook or library that defines it."""
    has_threshold: bool = False
    """Whether `gdx.curvature_threshold` has a number for it at its defaults."""
    ranges: Mapping[str, Range] = {}
    """Of hyperparameters whose range is not the usual one of their name."""

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """Numbers and switches that it takes by keyword, with defaults and ranges.

        Any floating one may be traced and swept. Whole numbers and switches are static.
        """
        ranges = USUAL_RANGES | dict(self.ranges)
        return {
            name: Hyperparameter(parameter.default, *(ranges.get(name) or _range_of(parameter.default)))
            for name, parameter in inspect.signature(self.make).parameters.items()
            if name not in STEP_SIZE_NAMES + NO_NUMBERS
            and (isinstance(parameter.default, (int, float)) or (parameter.default is None and name in ranges))
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
        Name to `OptimizerEntry`, group after group. Optax's own functions are there unchanged, under optax's names
        where there is no older one.

    Examples
    --------
    >>> import gdx
    >>> names = gdx.optimizers.catalogue()
    >>> len(names) > 50, "adam" in names, "newton-cg" in names
    (True, True, True)
    """
    return {
        row.name: OptimizerEntry(row.make, row.line, group, row.source, row.has_threshold, row.ranges)
        for group, rows in TABLE.items()
        for row in rows
    }


def left_out() -> dict[str, str]:
    """Give what optax ships and the catalogue does not hold, each with the reason.

    Returns
    -------
    dict

    Examples
    --------
    >>> import gdx
    >>> for name, reason in list(gdx.optimizers.left_out().items())[:2]:
    ...     print(f"{name}: {reason}")
    optax.MultiSteps: accumulates gradients for any of these: optax.MultiSteps(optax.sgd(h), 4), a static count
    optax.lookahead: its parameters are pairs of fast and slow weights, which a loss does not take
    """
    return dict(LEFT_OUT)


def family(
    name: str, hyperparameters: Mapping[str, Any] | None = None, **keywords: Any
) -> Callable[[Any], optax.GradientTransformation]:
    """Make the family of a named optimizer at fixed hyperparameters.

    Parameters
    ----------
    name
        One of `catalogue()`.
    hyperparameters
        Numbers and switches by the optimizer's own names.
    keywords
        More of them; these count where a name stands in both.

    Returns
    -------
    callable
        `step_size -> optax transformation`.

    Raises
    ------
    ValueError
        If there is no such optimizer, it does not take a hyperparameter, or a value is no number in its range.

    Examples
    --------
    >>> import gdx
    >>> round(gdx.curvature_threshold(gdx.optimizers.family("momentum", momentum=0.5)), 6)
    3.0
    """
    entries = catalogue()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see gdx list"
        raise ValueError(f"optimizer: {name!r} is unknown; {remedy}")
    taken, given = entries[name].hyperparameters, {**(hyperparameters or {}), **keywords}
    for key, value in given.items():
        if key not in taken:
            raise ValueError(f"{key}: the optimizer {name} does not take it; it takes {', '.join(taken) or 'none'}")
        given[key] = _checked(key, value, taken[key])
    made = functools.partial(entries[name].make, **given)
    # Constraints between two of them, such as c1 < c2, are the optimizer's own to check, and at once.
    made(1.0)
    return made


def _range_of(default):
    is_count = isinstance(default, int) and not isinstance(default, bool) and default > 0
    return Range(1, math.inf, True) if is_count else AT_LEAST_0


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
