"""A map over two hyperparameters, in words and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdx.maps import Axis, PhaseMap
from gdx.reports.transition import title
from gdx.verdicts import Answer
from gdx.wording import counted


def map_json(found: PhaseMap, settings: Mapping[str, Any], files: list[str]) -> dict[str, Any]:
    """Put everything about a map but its cells into one dict; those are in the file.

    Parameters
    ----------
    found
        From `gdx.phase_map`.
    settings
        What was asked for.
    files
        Paths that were written.

    Returns
    -------
    dict

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> from gdx.reports import map_json
    >>> told = map_json(found, {}, [])
    >>> told["x"]["name"], told["cells"], round(sum(told["answers"].values()), 9)
    ('momentum', 4096, 1.0)
    """
    return {
        **settings,
        "x": _axis(found.across.axis) | {"num_cells": found.x.size},
        "y": _axis(found.down.axis) | {"num_cells": found.y.size},
        "at": found.at,
        "criterion": found.criterion,
        "criterion_chosen_because": found.chosen_because or None,
        "cells": found.answers.size,
        "computed": int(np.sum(found.computed)),
        "reused": found.reused,
        "known": int(np.sum(found.known)),
        "answers": {code.name.lower(): share for code, share in _shares(found.answers[found.known], Answer)},
        "verdicts": {code.name.lower(): share for code, share in _verdicts(found) if share > 0},
        "follow": found.follow,
        "audit": found.audit._asdict() | {"confidence": 0.95},
        "num_runs": found.num_runs,
        "seconds": found.seconds,
        "compile_seconds": found.compile_seconds,
        "interrupted": found.interrupted,
        "files": files,
    }


def map_lines(found: PhaseMap, settings: Mapping[str, Any]) -> list[str]:
    """Say what a map shows and how well it is known.

    Parameters
    ----------
    found, settings
        As in `map_json`.

    Returns
    -------
    list of str

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> from gdx.reports import map_lines
    >>> settings = {"problem": "quadratic", "optimizer": "sgd", "scale": None, "batch_size": None}
    >>> lines = map_lines(found, settings | {"repeats": 1, "num_steps": 300, "hyperparameters": {}})
    >>> lines[0]
    '[bold]quadratic under sgd: 1 start, 300 steps[/]'
    """
    shares = ", ".join(f"{share:.1%} {_word(code)}" for code, share in _verdicts(found) if share > 0)
    rate = found.num_runs / max(found.seconds - found.compile_seconds, 1e-9)
    lines = [
        f"[bold]{title(settings)}[/]",
        str(found),
        f"verdicts  {shares}",
        f"runs      {found.num_runs} in {found.seconds:.3g} s, {found.compile_seconds:.3g} s of them compiling; "
        f"{rate:.3g} runs a second",
    ]
    if math.isnan(found.audit.bound):
        lines.append("not audited: of what was filled in nothing is known")
    elif len(found.audit.rounds) > 1:
        lines.append(f"audits    {counted(len(found.audit.rounds), 'round')}, the last counts")
    return lines


def map_attributes(found: PhaseMap) -> dict[str, Any]:
    """Give what a file of a map says beside its cells.

    Parameters
    ----------
    found
        From `gdx.phase_map`.

    Returns
    -------
    dict
        Numbers and text.

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> from gdx.reports import map_attributes
    >>> map_attributes(found)["criterion"]
    'bounded'
    """
    told = {f"audit_{name}": value for name, value in found.audit._asdict().items() if name != "rounds"}
    named = {"x": found.across.axis, "y": found.down.axis}
    told |= {f"{which}_{key}": value for which, axis in named.items() for key, value in _axis(axis).items()}
    return told | {
        "criterion": found.criterion,
        "tolerance": found.tolerance,
        "num_steps": found.horizon,
        "interrupted": found.interrupted,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    if axis.values is not None:
        return {"name": axis.name, "values": list(axis.values), "scale": axis.scale}
    return {"name": axis.name, "low": axis.low, "high": axis.high, "scale": axis.scale}


def _verdicts(found):
    """Verdicts and their shares of the cells that are known."""
    return _shares(found.verdict[found.known], found.verdict_names)


def _shares(codes, names):
    return [(name, float(np.mean(codes == name)) if codes.size else math.nan) for name in names]


def _word(code):
    return code.name.lower().replace("_", " ")
