"""What a problem, an optimizer and a criterion are called on the command line."""

from __future__ import annotations

import difflib
import enum
import importlib
import os
import sys
from typing import Any

from gdx import problems
from gdx.checks import inside
from gdx.cli.options import Scale


class Criterion(enum.StrEnum):
    """What counts as success."""

    trains = "trains"
    converged = "converged"
    stable = "stable"
    bounded = "bounded"
    improved = "improved"


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
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see gdx list, or pass my_module:my_problem"
        raise ValueError(f"problem: {name!r} is unknown; {remedy}")
    entry = entries[name]
    if scale is not None and not entry.takes_scale:
        raise ValueError(f"scale: the problem {name} has no features to scale; leave it out")
    if batch_size is not None and not entry.takes_scale:
        raise ValueError(f"batch-size: the problem {name} has no examples to batch; leave it out")
    options: dict[str, Any] = {} if scale is None else {"scale": None if scale is Scale.none else scale.value}
    if batch_size is not None:
        options |= {"batch_size": batch_size, "replacement": replacement}
        # The noise of batches keeps the full gradient from settling, so success is the loss that is reached.
        entry = entry._replace(criterion="trains")
    return entry, entry.make(**options)


def _imported(name, scale, batch_size):
    module_name, _, attribute = name.partition(":")
    if batch_size is not None:
        raise ValueError(f"batch-size: the problem {name} makes its own batches; leave it out")
    if scale is not None:
        raise ValueError(f"scale: the problem {name} is not one of gdx's data sets; leave it out")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(f"problem: module {module_name!r} does not import ({type(error).__name__}: {error})") from None
    if not hasattr(module, attribute):
        names = [key for key, value in vars(module).items() if isinstance(value, problems.Problem)]
        remedy = f"its problems are {', '.join(names)}" if names else "it has no gdx.Problem at all"
        raise ValueError(f"problem: module {module_name!r} has no {attribute!r}; {remedy}")
    made = getattr(module, attribute)
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
