"""What runs do beyond the edge: doublings, onset of chaos, jumps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.reports.values import bracket, new_table
from gdx.studies import Bifurcation
from gdx.verdicts import Verdict
from gdx.wording import counted, with_bar

if TYPE_CHECKING:
    from rich.console import RenderableType


def bifurcation_json(found: Bifurcation, settings: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Put everything about a bifurcation diagram into one dict, but for the visited values.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.
    files
        Paths written.

    Returns
    -------
    dict

    Examples
    --------
    Continues the example of `gdx.studies.bifurcation`.

    >>> from gdx.reports import bifurcation_json
    >>> [round(one["step_size"], 6) for one in bifurcation_json(found, {}, [])["doublings"]]
    [1.0, 1.236068, 1.288032]
    """
    estimate = found.edge.estimate
    return {
        **settings,
        "shown": found.shown,
        "step_sizes": found.step_sizes,
        "edge": {
            "last_success": bracket(found.edge.last_success),
            "first_failure": bracket(found.edge.first_failure),
            "estimate": estimate and estimate.value,
            "error": estimate and estimate.error,
            "kind": estimate and estimate.kind.value,
        },
        "doublings": [one._asdict() for one in found.cascade.doublings],
        "ratios": found.cascade.ratios,
        "doublings_end_because": found.cascade.note or None,
        "onset": found.onset,
        "onset_error": found.onset_error,
        "no_onset_because": found.onset_note or None,
        "jumps": [one._asdict() for one in found.jumps],
        "exponents": found.exponents,
        "errors": found.errors,
        "verdicts": [[Verdict(int(code)).name.lower() for code in row] for row in found.verdicts],
        "files": list(files),
    }


def bifurcation_tables(found: Bifurcation, settings: Mapping[str, Any]) -> list[RenderableType]:
    """Write what changes beyond the edge as a table and lines.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.

    Returns
    -------
    list
        Things that rich prints.

    Examples
    --------
    Continues the example of `gdx.studies.bifurcation`.

    >>> from gdx.reports import bifurcation_tables
    >>> len(bifurcation_tables(found, {"problem": "quartic", "optimizer": "sgd"}))
    5
    """
    parts: list[RenderableType] = [
        f"[bold]{settings['problem']}[/] under [bold]{settings['optimizer']}[/]: "
        f"{counted(len(found.step_sizes), 'step size')} from {found.step_sizes[0]:.6g} to {found.step_sizes[-1]:.6g}, "
        f"{counted(found.verdicts.shape[1], 'start')}; shown is {found.shown}"
    ]
    of_start = f" of start {found.start}" if found.verdicts.shape[1] > 1 and found.start >= 0 else ""
    parts.append(f"edge{of_start}: {found.edge.estimate}")
    if found.cascade.doublings:
        parts.append(_doublings(found))
    if found.cascade.note:
        parts.append(f"doublings end there: {found.cascade.note}")
    if math.isfinite(found.onset):
        parts.append(f"chaos begins at [bold]{with_bar(found.onset, found.onset_error)}[/], where doublings accumulate")
    elif found.cascade.doublings:
        parts.append(f"no onset of chaos: {found.onset_note}")
    for jump in found.jumps:
        parts.append(
            f"the range of chaotic runs jumps from {jump.before:.4g} to {_range(jump.after)} "
            f"between {jump.lower:.7g} and {jump.upper:.7g}"
        )
    parts.append(_counts(found))
    return parts


def _doublings(found):
    table = new_table("where periods double", "period", "step size", "gap / next gap")
    ratios = (*[""], *[f"{ratio:.4f}" for ratio in found.cascade.ratios], *[""] * 2)
    for one, ratio in zip(found.cascade.doublings, ratios, strict=False):
        table.add_row(f"{one.period} -> {2 * one.period}", with_bar(one.step_size, max(one.error, 1e-15)), ratio)
    return table


def _range(value):
    return f"{value:.4g}" if math.isfinite(value) else "one that grows with the horizon"


def _counts(found):
    codes = found.verdicts
    counts = {verdict: int(np.sum(codes == verdict)) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict.name.lower()}" for verdict, count in counts.items() if count)
    return f"runs: {told}"
