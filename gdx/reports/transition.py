"""A transition, its edges and predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.edges import Edge
from gdx.reports.values import bracket, new_table, number, span
from gdx.studies import Prediction, ScalingGain, Transition, limit_of, verdict_counts

if TYPE_CHECKING:
    from rich.console import RenderableType

TABLE_ROWS = 12


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
    """
    edge = found.edge
    return {
        **settings,
        "step_sizes": found.step_sizes,
        "first_failure": bracket(edge and edge.first_failure),
        "last_success": bracket(edge and edge.last_success),
        "too_slow_below": edge and edge.too_slow_below,
        "crossings": [bracket(pair) for pair in edge.crossings] if edge else [],
        "status": edge.status.value if edge else "interrupted",
        "limited_by": limit_of(edge) if edge else None,
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
        "verdicts": verdict_counts(found.runs),
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
    """
    parts: list[RenderableType] = [_headline(settings)]
    edge = found.edge
    parts.append(_edge_table(edge, found.predictions.entries) if edge else "[bold]interrupted[/]: edges not searched")
    parts.extend(_source_line(entry) for entry in found.predictions.entries)
    if edge:
        parts.append(f"status: [bold]{edge.status.value}[/]; what limits the first failure: {limit_of(edge)}")
        if not math.isnan(edge.too_slow_below):
            parts.append(
                f"below step size {edge.too_slow_below:.4g} runs are merely unfinished: too slow, not unstable"
            )
    if found.predictions.note:
        parts.append(f"no prediction: {found.predictions.note}")
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


def edge_attributes(edge: Edge | None) -> dict[str, Any]:
    """Flatten the measured edges to attributes of a dataset.

    Parameters
    ----------
    edge
        As `gdx.critical_step_size` gives it, or None.

    Returns
    -------
    dict
    """
    if edge is None:
        return {"status": "interrupted"}
    ends = {"first_failure": edge.first_failure, "last_success": edge.last_success}
    numbers = {f"{name}_{end}": value for name, pair in ends.items() for end, value in pair._asdict().items()}
    return {"status": edge.status.value, "too_slow_below": edge.too_slow_below, **numbers}


def title(settings: Mapping[str, Any]) -> str:
    """Say in one line what was run.

    Parameters
    ----------
    settings
        What was asked for.

    Returns
    -------
    str
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
    for entry in predictions:
        measured = getattr(edge, entry.predicts).lower
        table.add_row(_label(entry), number(entry.value), number(measured / entry.value))
    return table


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
        number(gain.measured_scaled.lower),
        number(gain.measured_raw.lower),
        number(gain.measured_factor),
    )
    return table


def _verdict_table(found):
    counts = {name: row for name, row in verdict_counts(found.runs).items() if any(row)}
    table = new_table("runs by verdict", "step size", *counts)
    size = len(found.step_sizes)
    for i in np.unique(np.linspace(0, size - 1, min(size, TABLE_ROWS)).round().astype(int)):
        table.add_row(f"{found.step_sizes[i]:.5g}", *(str(row[i]) if row[i] else "." for row in counts.values()))
    return table
