"""What the axes of a map are called on the command line, and who gets them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import typer

from gdx import optimizers
from gdx.cli.arguments import named_optimizer
from gdx.cli.request import Request
from gdx.maps import Axis, start_axes, starting
from gdx.problems import Problem
from gdx.stepping import Family

STEP_SIZE, BATCH_SIZE = "step_size", "batch_size"
INSIDE = 1e-9
"""Share of an axis by which its cells stand within its ends, at least."""
LOG_FROM = 10.0
"""Factor between positive ends from which an axis is logarithmic where nobody says so."""
FORM = "NAME:LOW:HIGH, NAME:LOW:HIGH:log, NAME:LOW:HIGH:linear or NAME=V1,V2,..."

AxisText = typer.Option(help=f"{FORM}; an unknown name lists them all", show_default=False)


class Mapped(NamedTuple):
    """What a map is made of."""

    problem: Any
    """A Problem, or a callable of the axes that are its own."""
    family: Family
    """Of a dict."""
    axes: tuple[Axis, ...]


def parsed_axis(option: str, text: str) -> Axis:
    """Read an axis.

    Parameters
    ----------
    option
        "x" or "y".
    text
        As in `FORM`.

    Returns
    -------
    Axis
        Logarithmic without saying so where its ends are positive and a factor of 10 or more apart.

    Raises
    ------
    ValueError
        If it is none.
    """
    wrong = ValueError(f"{option}: {text!r} is not {FORM}; write it as step_size:1e-2:10:log")
    name, has_values, values = text.partition("=")
    try:
        if has_values:
            found = tuple(_number(part) for part in values.split(","))
            return Axis(name.strip(), values=found, static=all(isinstance(value, int) for value in found))
        name, low, high, *scale = text.split(":")
        ends = float(low), float(high)
    except ValueError:
        raise wrong from None
    if len(scale) > 1 or not name:
        raise wrong
    default = "log" if ends[0] > 0 and ends[1] >= LOG_FROM * ends[0] else "linear"
    return Axis(name.strip(), *ends, scale[0] if scale else default)


def parsed_window(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Read a window.

    Parameters
    ----------
    text
        X0:X1:Y0:Y1.

    Returns
    -------
    ((x0, x1), (y0, y1))

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        x0, x1, y0, y1 = (float(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"window: {text!r} is not X0:X1:Y0:Y1; write it as 0.1:1:0.5:2") from None
    return (x0, x1), (y0, y1)


def parsed_resolution(text: str) -> tuple[int, int]:
    """Read a number of cells, or two.

    Parameters
    ----------
    text
        "512" or "512x256".

    Returns
    -------
    X, Y

    Raises
    ------
    ValueError
        If it is none.
    """
    across, x, down = text.partition("x")
    try:
        return int(across), int(down if x else across)
    except ValueError:
        raise ValueError(f"resolution: {text!r} is no number of cells; write it as 512, or 512x256") from None


def parsed_fixed(assignments: Sequence[str]) -> dict[str, Any]:
    """Read what is the same in all cells.

    Parameters
    ----------
    assignments
        NAME=VALUE each.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If one is none.
    """
    fixed = {}
    for text in assignments:
        name, separator, value = text.partition("=")
        try:
            if not (separator and name.strip()):
                raise ValueError
            fixed[name.strip()] = _number(value)
        except ValueError:
            raise ValueError(f"at: {text!r} is not NAME=NUMBER; write it as --at step_size=0.1") from None
    return fixed


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)


def mapped(wanted: Request, axes: Sequence[Axis], fixed: Mapping[str, Any]) -> Mapped:
    """Hand every axis to whom it belongs: the optimizer, the problem, or the start.

    Parameters
    ----------
    wanted
        The problem, the optimizer and its numbers.
    axes
        Two.
    fixed
        What is fixed beside them, by name.

    Returns
    -------
    Mapped

    Raises
    ------
    ValueError
        If a name is unknown, with the list of those that are known; or a value is out of its range.
    """
    names = [axis.name for axis in axes]
    if STEP_SIZE not in (*names, *fixed):
        raise ValueError("step_size: it is neither an axis nor fixed; pass --at step_size=0.1, say")
    of_optimizer, of_problem = _numbers_of_optimizer(wanted), _numbers_of_problem(wanted)
    of_start = tuple(name for name in start_axes(wanted.problem) if name not in of_problem)
    known = (STEP_SIZE, *of_optimizer, *of_problem, *of_start)
    for name in (*names, *fixed):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            meant = f"did you mean {near[0]}? all are" if near else "choose from"
            raise ValueError(f"axis: {name!r} is unknown; {meant} {', '.join(known)}")
    _check_static(axes, {**of_optimizer, **of_problem})
    _check_ranges(wanted, axes, fixed, of_optimizer)
    own = [name for name in (*names, *fixed) if name in of_problem]
    moved = [name for name in (*names, *fixed) if name in of_start]
    return Mapped(_problem_of(wanted, own, moved), _family_of(wanted, of_optimizer), tuple(axes))


def _numbers_of_optimizer(wanted) -> dict[str, Any]:
    """Numbers that an optimizer takes beside its step size, with their defaults."""
    name, defaults = wanted.settings["optimizer"], wanted.settings["hyperparameters"]
    taken = optimizers.catalogue()[name].defaults if ":" not in name else defaults
    return {key: value for key, value in taken.items() if not isinstance(value, bool)}


def _numbers_of_problem(wanted) -> dict[str, Any]:
    """Numbers that a problem is made with and that an axis may be, with their defaults."""
    make, given = wanted.entry.make, _options_of(wanted)
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(make).parameters.items():
        is_number = isinstance(parameter.default, float) and name not in given
        if is_number and _traces(lambda value, name=name: make(**given, **{name: value}), parameter.default):
            found[name] = parameter.default
    if wanted.entry.takes_batches:
        found[BATCH_SIZE] = 1
    return found


def _options_of(wanted):
    scale = wanted.settings["scale"]
    given: dict[str, Any] = {} if scale is None else {"scale": None if scale == "none" else scale}
    if wanted.settings[BATCH_SIZE] is not None:
        given |= {BATCH_SIZE: wanted.settings[BATCH_SIZE], "replacement": wanted.settings["replacement"]}
    return given


def _traces(make: Callable[[Any], Problem], default: float) -> bool:
    """Whether a number of a problem may be traced."""

    def attempt(value, key):
        problem = make(value)
        params, state = problem.init(key)
        batch = None if problem.batches is None else problem.batches(key, jnp.int32(0))
        return problem.loss(params, state, batch)

    try:
        jax.eval_shape(attempt, default, jax.random.key(0))
    except Exception:
        # Whatever is asked of its value, it is no axis.
        return False
    return True


def _check_static(axes, defaults):
    for axis in axes:
        default = defaults.get(axis.name)
        is_whole = isinstance(default, int)
        if is_whole and not axis.static:
            raise ValueError(f"axis: {axis.name} is a whole number; write it as {axis.name}=8,16,32")


def _check_ranges(wanted, axes, fixed, of_optimizer):
    """Refuse numbers that the optimizer does not take, at both ends of an axis."""
    name, base = wanted.settings["optimizer"], dict(wanted.settings["hyperparameters"])
    ends = [{key: value} for key, value in fixed.items() if key in of_optimizer]
    for axis in axes:
        if axis.name in of_optimizer:
            # Cells stand within the ends, which may be where a range is open.
            inside = INSIDE * (axis.high - axis.low)
            ends += [{axis.name: value} for value in (axis.values or (axis.low + inside, axis.high - inside))]
    given = {key: value for key, value in base.items() if value is not None}
    for one in ends:
        named_optimizer(name, given | one)


def _family_of(wanted, of_optimizer) -> Family:
    family = wanted.family

    def of_dict(hyperparams):
        return family(hyperparams[STEP_SIZE], **{key: hyperparams[key] for key in hyperparams if key in of_optimizer})

    return of_dict


def _problem_of(wanted, own, moved):
    """The problem itself where no axis is its own."""
    if not own and not moved:
        return wanted.problem
    make, given = wanted.entry.make, _options_of(wanted)

    def of_dict(hyperparams):
        made = make(**given, **{name: hyperparams[name] for name in own}) if own else wanted.problem
        return starting(made, {name: hyperparams[name] for name in moved}) if moved else made

    return of_dict
