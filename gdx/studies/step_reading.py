"""How to read the step sizes where they disagree: sentences that are true of the numbers at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gdx.edges import Edge
from gdx.records import record
from gdx.wording import to_its_bar

CLOSE = 0.05
"""Relative difference that is not worth a sentence."""


@record
class StepRow(NamedTuple):
    """One of the step sizes.

    Examples
    --------
    Continues the example of `gdx.step_table`.

    >>> row = table.rows[0]
    >>> row.name, row.meaning
    ('curvature at the start', 'stability, if curvature stayed as it is at the start')
    """

    name: str
    """Which of the step sizes."""
    value: float
    """A step size; NaN where there is none, and `note` says why."""
    error: float
    """How well the value is known for what it is, absolute: of a bracket its width, of an eigenvalue what its residual
    allows. Not its distance from any other row. Infinite for a bound, see `bound`."""
    cost: float
    """What it took, in the table's unit: gradients over all data where their number is known. A Hessian product counts
    as two, an evaluation of the loss as a third, a step of a run as its share of the data."""
    meaning: str
    """What the step size is."""
    note: str
    """Where the number comes from, or why there is none."""
    bound: str = ""
    """"at least" or "at most" where the search ended at the value, which then is no measurement."""

    @property
    def numbers(self) -> tuple[str, str]:
        """Value and error bar as text, the value to as many digits as its bar leaves and one more."""
        if math.isnan(self.value):
            return "none", ""
        shown = to_its_bar(self.value, self.error)
        return (f"{self.bound} {shown}", "") if self.bound else (shown, f"{self.error:.1g}")


def reading(rows: Sequence[StepRow], edge: Edge) -> str:
    """Say in one short paragraph what was measured, and how the other rows compare with it.

    Parameters
    ----------
    rows
        Of a step table, all or those that there are.
    edge
        What was measured.

    Returns
    -------
    str
        It states what the numbers show. Reasons are given as far as other rows prove them.
    """
    verb = "train" if edge.criterion == "trains" else f'meet "{edge.criterion}"'
    if not edge.last_success.lower > 0:
        return (
            f"No run was seen to {verb} within {edge.horizon} steps, so nothing is measured that the other rows could "
            "be held against: a longer horizon or another criterion may tell."
        )
    said = _measured(edge, verb)
    found = {row.name: row for row in rows}
    measured = _reference(found, edge)
    if measured is None:
        said.append("Where that ends was not seen, so no other row can be held against it.")
    else:
        said += _compared(found, measured)
    return " ".join(said)


def _measured(edge, verb):
    """What the runs of this horizon show."""
    lower, upper = edge.last_success
    scope = f"From this start and over {edge.horizon} steps"
    if math.isfinite(upper):
        said = [f"{scope}, runs {verb} up to {lower:.6g}, and none from {upper:.6g} on that was tried."]
    else:
        said = [f"{scope}, the largest step size tried, {lower:.6g}, still does what is asked ({edge.criterion})."]
    if math.isfinite(edge.too_slow_below):
        said.append(f"Below {edge.too_slow_below:.4g} none was seen to: the horizon is too short to tell.")
    fails = edge.first_failure.upper
    if fails < lower:
        said.append(f"Some smaller ones fail, from {fails:.6g} on: in between, success and failure alternate.")
    return said


def _reference(found, edge):
    """The row that others are held against, its value and what to call it."""
    endless = found.get("measured: endless run")
    if endless is not None and math.isfinite(endless.value):
        return endless.value, "the edge of an endless run"
    if math.isfinite(edge.last_success.upper):
        return edge.last_success.lower, "the last success"
    return None


def _compared(found, measured):
    """The rows of theory against the measured one."""
    value, name = measured
    said = []
    endless, last = found.get("measured: endless run"), found.get("measured: last success")
    if endless is not None and last is not None and math.isfinite(endless.value) and not last.bound:
        apart = (endless.value - last.value) / last.value
        if abs(apart) > CLOSE:
            side = "above" if apart > 0 else "below"
            said.append(
                f"The estimate for endless runs, {endless.value:.6g}, lies {abs(apart):.0%} {side} the last success of "
                "these runs: they are not about the same edge, and the notes say which."
            )
    start, minimum = (found.get(f"curvature at the {end}") for end in ("start", "minimum"))
    for row, cautious, bold in (
        (start, _why_cautious(start, minimum), ""),
        (
            minimum,
            "runs beyond its edge succeed all the same",
            "where runs end, that minimum would still be stable",
        ),
    ):
        if row is None or not math.isfinite(row.value):
            continue
        ratio = value / row.value
        if ratio > 1 + CLOSE:
            reason = f": {cautious}" if cautious else ""
            said.append(f"Held against {name}, the {row.name} is {ratio:.3g} times too cautious{reason}.")
        elif ratio < 1 - CLOSE:
            reason = f": {bold}" if bold else ""
            said.append(f"Held against {name}, the {row.name} promises {1 / ratio:.3g} times too much{reason}.")
    return said


def _why_cautious(start, minimum):
    """A reason that the rows prove, or none."""
    if start is None or minimum is None or not minimum.value > (1 + CLOSE) * start.value:
        return ""
    return "the place that a run reaches is flatter"
