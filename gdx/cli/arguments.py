"""What a problem and an optimizer are called on the command line."""

from __future__ import annotations

import difflib
import enum
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any, cast

import optax

from gdx import optimizers, problems
from gdx.checks import first_line, inside
from gdx.stepping import Family

MOST_NAMES = 8
"""Of a module, that a sentence has room for."""


class Scale(enum.StrEnum):
    """Of the features of a data set."""

    standard = "standard"
    minmax = "minmax"
    robust = "robust"
    none = "none"


def named_problem(
    name: str, scale: Scale | None, batch_size: int | None, replacement: bool
) -> tuple[problems.ProblemEntry, problems.Problem]:
    """Find a problem by name or import, and make it.

    Parameters
    ----------
    name
        From the catalogue, or `my_module:my_problem`.
    scale, batch_size, replacement
        As the options say.

    Returns
    -------
    ProblemEntry, Problem

    Raises
    ------
    ValueError
        If there is no such problem, or it does not take an option.
    """
    if replacement and batch_size is None:
        raise ValueError("replacement: it is about batches; pass --batch-size too")
    if ":" in name:
        made = _imported(name, scale, batch_size)
        return problems.ProblemEntry(lambda: made, "", num_points=48, repeats=8, criterion=None), made
    entries = problems.catalogue()
    if name not in entries and name in problems.landscape_catalogue():
        raise ValueError(f"problem: {name} is a landscape; draw paths over it with gdx trajectory {name}")
    entry = entry_of("problem", name, entries, "see gdx list, or pass my_module:my_problem")
    if scale is not None and not entry.takes_scale:
        raise ValueError(f"scale: the problem {name} has no features to scale; leave it out")
    if batch_size is not None and not entry.takes_batches:
        raise ValueError(f"batch-size: the problem {name} has no examples to batch; leave it out")
    options: dict[str, Any] = {} if scale is None else {"scale": None if scale is Scale.none else scale.value}
    if batch_size is not None:
        options |= {"batch_size": batch_size, "replacement": replacement}
        # The noise of batches keeps the full gradient from settling, so success is the loss that is reached.
        entry = entry._replace(criterion="trains")
    return entry, entry.make(**options)


def entry_of(what: str, name: str, entries: Mapping[str, Any], remedy: str) -> Any:
    """Find a row of a catalogue.

    Parameters
    ----------
    what
        Kind of thing that is looked for.
    name, entries
        Its name, and the catalogue.
    remedy
        What to do where no name is near.

    Returns
    -------
    The row.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else remedy
        raise ValueError(f"{what}: {name!r} is unknown; {remedy}")
    return entries[name]


def named_optimizer(name: str, hyperparameters: Mapping[str, Any]) -> tuple[Family, dict[str, Any]]:
    """Find an optimizer by name or import.

    Parameters
    ----------
    name
        From the catalogue, or `my_module:my_optimizer`: anything that makes an optax transformation from a step size.
    hyperparameters
        Keywords for it.

    Returns
    -------
    family, dict
        `step_size -> optax transformation`; all its hyperparameters, those left at their defaults included.

    Raises
    ------
    ValueError
        If there is no such optimizer, it does not take a hyperparameter, or it makes no optax transformation.
    """
    if ":" not in name:
        return optimizers.family(name, hyperparameters), optimizers.catalogue()[name].defaults | dict(hyperparameters)
    found: Any = _attribute(
        "optimizer", name, lambda value: callable(value) and not isinstance(value, type), "functions"
    )
    remedy = "pass a function step_size -> optax transformation, as optax.adam is one"
    if not callable(found):
        raise ValueError(f"optimizer: {name} is {type(found).__name__} and cannot be called; {remedy}")
    defaults = _number_defaults(found)
    given = _taken(name, found, hyperparameters, defaults)
    family = cast("Family", functools.partial(found, **given))
    with inside(f"optimizer: {name}"):
        made = family(1.0)
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"optimizer: {name} returns {type(made).__name__}, no optax transformation; {remedy}")
    return family, defaults | given


def _is_function(value):
    return callable(value) and not isinstance(value, type)


def _number_defaults(function):
    """Numbers and switches that a function takes by keyword; the first argument is the step size."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return {}
    return {entry.name: entry.default for entry in parameters if isinstance(entry.default, (bool, int, float))}


def _taken(name, function, hyperparameters, defaults):
    """The keywords that a function takes, whole where their defaults are; others are refused."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return dict(hyperparameters)
    takes_any = any(entry.kind is entry.VAR_KEYWORD for entry in parameters)
    names = [entry.name for entry in parameters if entry.kind in (entry.POSITIONAL_OR_KEYWORD, entry.KEYWORD_ONLY)]
    given = dict(hyperparameters)
    for key, value in given.items():
        if key not in names and not takes_any:
            raise ValueError(f"{key}: the optimizer {name} does not take it; it takes {', '.join(names) or 'none'}")
        is_whole = isinstance(defaults.get(key), int) and not isinstance(defaults[key], bool)
        if is_whole and not isinstance(value, bool) and value == int(value):
            given[key] = int(value)
    return given


def _attribute(what, name, suits, kind):
    """What `module:attribute` stands for, from the current folder or installed."""
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        remedy = "run gdx in its folder" if isinstance(error, ModuleNotFoundError) else "mend it there"
        raise ValueError(f"{what}: module {module_name!r} does not import ({why}); {remedy}") from None
    if not hasattr(module, attribute):
        names = [key for key, value in vars(module).items() if suits(value) and not key.startswith("_")]
        near = difflib.get_close_matches(attribute, names, n=3, cutoff=0.4) or names[:MOST_NAMES]
        remedy = f"its {kind} are {', '.join(near)}" if near else f"it has no {kind} at all"
        raise ValueError(f"{what}: module {module_name!r} has no {attribute!r}; {remedy}")
    return getattr(module, attribute)


def _imported(name, scale, batch_size):
    if batch_size is not None:
        raise ValueError(f"batch-size: the problem {name} makes its own batches; leave it out")
    if scale is not None:
        raise ValueError(f"scale: the problem {name} is not one of gdx's data sets; leave it out")
    made = _attribute("problem", name, lambda value: isinstance(value, problems.Problem), "problems")
    if callable(made) and not isinstance(made, problems.Problem):
        with inside(f"problem: {name}"):
            made = made()
    if not isinstance(made, problems.Problem):
        raise ValueError(
            f"problem: {name} is {type(made).__name__}, no gdx.Problem; make one with gdx.problem(init, loss)"
        )
    return made


def hyperparameters_of(momentum: float | None, nesterov: bool, assignments: list[str]) -> dict[str, Any]:
    """Put the options that are an optimizer's into one dict.

    Parameters
    ----------
    momentum, nesterov
        With options of their own.
    assignments
        `NAME=VALUE` each.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If an assignment is none.
    """
    values: dict[str, Any] = {}
    if momentum is not None:
        values["momentum"] = momentum
    if nesterov:
        values["nesterov"] = True
    for text in assignments:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"set: {text!r} is not NAME=VALUE; write it as --set b1=0.8")
        values[name.strip()] = _parsed(name.strip(), value.strip())
    return values


def _parsed(name, text):
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"set: {name}={text} is no number, true or false; write it as --set b1=0.8") from None
