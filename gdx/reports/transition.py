"""A transition, its edges and predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.edges import Edge
from gdx.reports.values import bracket, new_table
from gdx.studies import Place, Prediction, ScalingGain, Transition, limit_of, verdict_counts
from gdx.wording import number, span, with_bar

if TYPE_CHECKING:
    from rich.console import RenderableType

TABLE_ROWS = 16
NOTABLE_SPREAD = 1.1
"""Factor between starts' own edges from which it is said."""


def transition_json(
    found: Transition, settings: Mapping[str, Any], files: Sequence[str], gain: ScalingGain | None = None
) -> dict[str, Any]:
    """Put everything about a transition into one dict.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.
    files
        Paths written.
    gain
        What scaling the features buys, where that was asked.

    Returns
    -------
    dict

    Examples
    --------
    Continues the example of `gdx.studies.transition`.

    >>> from gdx.reports import transition_json
    >>> sorted(transition_json(found, {}, []))[:4]
    ['criterion_chosen_because', 'crossings', 'estimate', 'files']
    """
    edge = found.edge
    return {
        **settings,
        "step_sizes": found.step_sizes,
        "first_failure": bracket(edge and edge.first_failure),
        "last_success": bracket(edge and edge.last_success),
        "too_slow_below": edge and edge.too_slow_below,
        "crossings": [bracket(pair) for pair in edge.crossings] if edge else [],
        "last_success_by_start": [bracket(pair) for pair in edge.by_start] if edge else [],
        "spread": edge and edge.spread,
        "estimate": _estimate_json(edge),
        "status": edge.status.value if edge and not found.interrupted else "interrupted",
        "limited_by": limit_of(edge) if edge else None,
        "criterion_chosen_because": (edge and edge.chosen_because) or None,
        "other_criteria": {
            name: {
                "first_failure": bracket(other.first_failure),
                "last_success": bracket(other.last_success),
                "status": other.status.value,
            }
            for name, other in found.others.items()
        },
        "predicted": [entry._asdict() for entry in found.predictions.entries],
        "no_prediction_because": found.predictions.note or None,
        "no_prediction_at_minimum_because": found.predictions.minimum_note or None,
        "scaling": gain
        and {
            "criterion": gain.criterion,
            "predicted_standard": gain.predicted_scaled,
            "predicted_raw": gain.predicted_raw,
            "predicted_factor": gain.predicted_factor,
            "measured_standard": bracket(gain.measured_scaled),
            "measured_raw": bracket(gain.measured_raw),
            "measured_factor": gain.measured_factor,
        },
        "places_of_rest": [_place_json(place) for place in found.places],
        "verdicts": verdict_counts(found.runs, edge.criterion if edge else "converged"),
        "seconds": {"compile": found.compile_seconds, "run": found.run_seconds},
        "files": list(files),
    }


def transition_tables(found: Transition, settings: Mapping[str, Any], gain: ScalingGain | None = None) -> list[Any]:
    """Lay a transition out for a terminal.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.
    gain
        What scaling the features buys, where that was asked.

    Returns
    -------
    list
        Things that rich prints.

    Examples
    --------
    Continues the example of `gdx.studies.transition`.

    >>> from gdx.reports import transition_tables
    >>> settings = {"problem": "bowl", "optimizer": "sgd", "scale": None, "batch_size": None, "hyperparameters": {}}
    >>> settings |= {"repeats": 2, "num_steps": 500, "precision": "float64"}
    >>> settings |= {"criterion": "converged", "tolerance": 1e-6}
    >>> len(transition_tables(found, settings))
    10
    """
    parts: list[RenderableType] = [_headline(settings)]
    edge = found.edge
    if found.interrupted:
        parts.append("[bold]interrupted[/]: what follows is of the runs so far")
    if edge:
        parts.append(_edge_table(edge, found.predictions.entries))
    parts.extend(_source_line(entry) for entry in found.predictions.entries)
    if edge:
        if edge.chosen_because:
            parts.append(f"criterion {edge.criterion}, since {edge.chosen_because}")
        parts.append(f"status: [bold]{edge.status.value}[/]; what limits the first failure: {limit_of(edge)}")
        if not math.isnan(edge.too_slow_below):
            parts.append(
                f"below step size {edge.too_slow_below:.4g} runs are merely unfinished: too slow, not unstable"
            )
        parts.extend(_estimate_lines(edge))
        parts.extend(_spread_lines(edge))
    parts.extend(_place_line(place) for place in found.places)
    if found.predictions.note:
        parts.append(f"no prediction: {found.predictions.note}")
    if found.predictions.minimum_note:
        parts.append(f"no prediction at the minimum: {found.predictions.minimum_note}")
    for name, other in found.others.items():
        parts.append(
            f"criterion [bold]{name}[/] instead: first failure {span(other.first_failure)}, "
            f"last success {span(other.last_success)} ({other.status.value})"
        )
    if gain is not None:
        parts.append(_gain_table(gain))
    parts.append(_verdict_table(found))
    parts.append(f"{found.compile_seconds:.1f} s compiling, {found.run_seconds:.1f} s running")
    return parts


def edge_attributes(edge: Edge | None, interrupted: bool = False) -> dict[str, Any]:
    """Flatten the measured edges to attributes of a dataset.

    Parameters
    ----------
    edge
        As `gdx.critical_step_size` gives it, or None.
    interrupted
        Whether the search was, so that the status is not final.

    Returns
    -------
    dict

    Examples
    --------
    Continues the example of `gdx`.

    >>> from gdx.reports import edge_attributes
    >>> edge_attributes(edge)["estimate_kind"], sorted(edge_attributes(edge))[:3]
    ('linear', ['estimate', 'estimate_error', 'estimate_kind'])
    """
    if edge is None:
        return {"status": "interrupted"}
    ends = {"first_failure": edge.first_failure, "last_success": edge.last_success}
    numbers = {f"{name}_{end}": value for name, pair in ends.items() for end, value in pair._asdict().items()}
    found = edge.estimate
    if found is not None:
        numbers |= {"estimate": found.value, "estimate_error": found.error, "estimate_kind": found.kind.value}
        numbers |= {"estimate_reason": found.reason, "estimate_repeat": found.repeat}
    status = "interrupted" if interrupted else edge.status.value
    facts = {"status": status, "too_slow_below": edge.too_slow_below, "spread": edge.spread}
    return facts | numbers


def title(settings: Mapping[str, Any]) -> str:
    """Say in one line what was run.

    Parameters
    ----------
    settings
        What was asked for.

    Returns
    -------
    str

    Examples
    --------
    >>> from gdx.reports import title
    >>> settings = {"problem": "quartic", "optimizer": "sgd", "scale": None, "batch_size": None, "hyperparameters": {}}
    >>> title(settings | {"repeats": 8, "num_steps": 500})
    'quartic under sgd: 8 starts, 500 steps'
    """
    features = {"none": ", features raw", "minmax": ", features min-max", "robust": ", features robust"}
    data = features.get(settings["scale"], "")
    if settings["batch_size"] is not None:
        data += f", batches of {settings['batch_size']}" + (" with replacement" if settings["replacement"] else "")
    return (
        f"{settings['problem']}{data} under {settings['optimizer']}{_in_brackets(settings)}: "
        f"{settings['repeats']} start{'' if settings['repeats'] == 1 else 's'}, {settings['num_steps']} steps"
    )


def _in_brackets(settings):
    values = settings["hyperparameters"].items()
    hyper = ", ".join(f"{name} {value}" for name, value in values if value not in (None, False))
    return f" ({hyper})" if hyper else ""


def _headline(settings):
    judged = f"criterion {settings['criterion']} (tolerance {settings['tolerance']:g}), {settings['precision']}"
    return f"[bold]{title(settings)}[/], {judged}"


def _edge_table(edge: Edge, predictions: Sequence[Prediction]):
    table = new_table("critical step sizes", "", "step size", "measured / predicted")
    table.add_row("measured: last success", span(edge.last_success), "")
    table.add_row("measured: first failure", span(edge.first_failure), "")
    ends = {"last_success": edge.last_success, "first_failure": edge.first_failure}
    endless = edge.estimate if edge.estimate is not None and math.isfinite(edge.estimate.value) else None
    if endless is not None:
        table.add_row("measured: endless run", with_bar(endless.value, endless.error), "")
    for entry in predictions:
        table.add_row(_label(entry), number(entry.value), _ratio(ends[entry.predicts], entry.value))
        if endless is not None and entry.predicts == "last_success":
            table.add_row("  beside the endless run", "", number(endless.value / entry.value))
    return table


def _ratio(pair, predicted):
    """Measured over predicted; where the scan ended first, no more than a bound."""
    if math.isnan(pair.lower):
        return "none"
    if math.isinf(pair.upper):
        return f"at least {number(pair.lower / predicted)}"
    if pair.lower == 0:
        return f"at most {number(pair.upper / predicted)}"
    return number(pair.lower / predicted)


def _estimate_json(edge):
    if edge is None or edge.estimate is None:
        return None
    return edge.estimate._asdict() | {"kind": edge.estimate.kind.value}


def _estimate_lines(edge):
    found = edge.estimate
    if found is None:
        return []
    if not math.isfinite(found.value):
        return [f"no edge of an endless run: {found.reason}"]
    start = f"start {found.repeat}" if edge.repeats > 1 else "the start"
    return [
        f"endless run: {found.kind.value} edge of {start}, by {found.method}: {found.reason}; "
        f"within {edge.horizon} steps edges are seen shifted"
    ]


def _spread_lines(edge):
    known = [pair.lower for pair in edge.by_start if pair.lower > 0]
    lines = []
    if edge.spread > NOTABLE_SPREAD:
        lines.append(
            f"starts disagree: their own last successes lie from {min(known):.4g} to {max(known):.4g}, "
            "and brackets are no finer than that is worth"
        )
    if known and len(known) < edge.repeats:
        lines.append(f"{edge.repeats - len(known)} of {edge.repeats} starts succeed at no step size")
    return lines


def _place_json(place: Place):
    look = place.look
    known = look and look._asdict() | {"status": look.status.name.lower(), "kind": look.kind}
    return place._asdict() | {"look": known}


def _place_line(place: Place):
    runs = f"{place.number} runs came" if place.number > 1 else "1 run came"
    line = f"{runs} to rest at loss {place.loss:.4g}"
    if place.look is None:
        return f"{line}; the run at {place.step_size:.5g}, made again, ended elsewhere"
    smallest, largest = place.look.smallest, place.look.largest
    line += f", {place.look.kind}: curvature from {smallest:.4g} to {largest:.4g} where {place.step_size:.5g} ends"
    return f"{line}; {place.beyond}" if place.beyond else line


def _source_line(entry):
    what = f"{entry.threshold:.6g} / curvature {entry.curvature:.6g}"
    return f"{_label(entry)} = {what}, for the {entry.predicts.replace('_', ' ')}: {entry.source}"


def _label(entry):
    return f"predicted: {entry.name.replace('_', ' ')}"


def _gain_table(gain):
    table = new_table("what scaling the features buys", "", "standardised", "raw", "factor")
    table.add_row(
        "predicted: at the optimum",
        number(gain.predicted_scaled),
        number(gain.predicted_raw),
        number(gain.predicted_factor),
    )
    table.add_row(
        f"measured: last success ({gain.criterion})",
        span(gain.measured_scaled),
        span(gain.measured_raw),
        number(gain.measured_factor),
    )
    return table


def _verdict_table(found):
    criterion = found.edge.criterion if found.edge else "converged"
    counts = {name: row for name, row in verdict_counts(found.runs, criterion).items() if any(row)}
    shown = {name.replace("_", " "): row for name, row in counts.items()}
    table = new_table(f"runs by verdict ({len(found.step_sizes)} step sizes)", "step size", *shown)
    for i in _rows(found):
        table.add_row(f"{found.step_sizes[i]:.5g}", *(str(row[i]) if row[i] else "." for row in shown.values()))
    return table


def _rows(found):
    """Step sizes evenly spread over the picture, as a scan has them, and those on both sides of each edge."""
    step_sizes = found.step_sizes
    low, high = found.window
    even = np.geomspace(low, high, TABLE_ROWS)
    rows = {int(np.argmin(np.abs(np.log(step_sizes / value)))) for value in even}
    for pair in (found.edge.first_failure, found.edge.last_success) if found.edge else ():
        rows |= {int(np.argmin(np.abs(step_sizes - end))) for end in pair if 0 < end < math.inf}
    return sorted(rows)
