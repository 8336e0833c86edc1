"""What became of a run, in a few lines that can be acted on."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.studies.autopsy.found import Kind
from gdx.studies.autopsy.margins import NOT_ASKED
from gdx.studies.stability.words import size
from gdx.wording import counted

if TYPE_CHECKING:
    from gdx.studies.autopsy.found import Autopsy, Tried

WIDTH, INDENT = 80, 20
"""Columns of a terminal, and of what a line is about."""
MILD, SMALLER = 0.5, (Kind.GROUP, Kind.STEP)
"""Factor of a smaller step that saves runs which are merely at their edge."""
SHOWN = 5
"""Changes that are told in a line."""


def rows(found: Autopsy) -> list[tuple[str, str]]:
    """Say what was found: what a line is about, and a sentence.

    Parameters
    ----------
    found
        Of a run.

    Returns
    -------
    list
    """
    made = [("what happened", _happened(found))]
    if not found.has_spike:
        return [*made, ("trust", _trust(found))]
    made.append(("blame", _blame(found)))
    if found.others:
        made.append(("saves it, too", _listed(found.others)))
    made += _failed(found)
    if found.margin.note != NOT_ASKED:
        made.append(("margin", _margin(found)))
    made.append(("what to do", advice(found)))
    return [*made, ("trust", _trust(found))]


def lines(found: Autopsy) -> str:
    """Set the rows below each other, in 80 columns.

    Parameters
    ----------
    found
        Of a run.

    Returns
    -------
    str
    """
    return "\n".join(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=name.ljust(INDENT),
            subsequent_indent=" " * INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in rows(found)
    )


def advice(found: Autopsy) -> str:
    """Say what to do.

    Parameters
    ----------
    found
        Of a run with a spike.

    Returns
    -------
    str
    """
    if found.tried and found.tried[0].damage == 0:
        return "nothing, unless it lasts: then pass more of the batches that follow"
    if found.blame is None:
        saving = f"of what saves it, {found.others[0].name} is the smallest; " if found.others else ""
        return f"{saving}begin from an earlier checkpoint, or pass more batches, and look again"
    one, factor = found.blame, 1 / found.blame.factor if found.blame.factor else math.inf
    before = found.curve[: (found.onset or 0) + 1]
    if found.curve[-1] - np.min(before) <= found.threshold:
        return "it comes back by itself within the steps that were looked at: wait, and look again if spikes grow"
    mild = next((other for other in found.others if other.kind in SMALLER and other.factor >= MILD), None)
    if one.kind is Kind.BATCH and mild is not None:
        # A poisoned batch is not saved by half a step; at the edge some batch is always the one that tips it.
        return (
            f"{mild.name} saves it, too, so batch {one.batch} may only be the one that tipped a step size at its edge: "
            "take a smaller step; look at that batch's data if an earlier checkpoint blames it again"
        )
    return {
        Kind.WIDTH: f"keep {one.name.split(' for ')[0]} where numbers overflow or are rounded away",
        Kind.BATCH: f"look at the data of batch {one.batch}, its targets, units and missing values; then leave it out",
        Kind.SCHEDULE: "lower the schedule's peak, or warm up more slowly",
        Kind.GROUP: f"give {one.group} a step size {size(factor)}x smaller, as with optax.multi_transform",
        Kind.STEP: f"take a step size {size(factor)}x smaller (no more than these steps were looked at)",
        Kind.CLIPPING: f"put optax.clip_by_global_norm({size(one.factor)}) before the optimizer",
        Kind.FREEZING: f"no smaller step in {one.group} is enough: hold it fixed until the loss is lower",
    }[one.kind or Kind.STEP]


def _happened(found):
    before, last = float(found.curve[0]), found.curve.size - 1
    steps = counted(last, "step")
    if not found.has_spike:
        if not math.isfinite(before):
            return "the loss at the checkpoint is no number already: begin from an earlier one"
        rise = f"rises by {size(found.rise)} at most" if found.rise > 0 else "never rises"
        return f"no spike in {steps}: on batches held fixed the loss {rise}, {size(found.threshold)} would be one"
    worst = float(np.max(np.where(np.isfinite(found.curve), found.curve, np.inf)))
    peak = f"to {size(worst)}" if math.isfinite(worst) else "until it is no number"
    low = float(np.min(found.curve[: found.onset + 1]))
    until = f"from {size(low) if low > 0 else f'{low:.2g}'} {peak}"
    update = f"{_unit(found)} {found.onset} (of 0 to {last - 1})"
    return (
        f"after the update of {update} the loss on batches held fixed rises {until} "
        f"(a rise by {size(found.threshold)} is a spike)"
    )


def _blame(found):
    if found.blame is None:
        return f"none: {found.reason}"
    left = (
        f"{found.blame.share:.0%} of the damage is left" if math.isfinite(found.tried[0].damage) else "it stays finite"
    )
    kinds = {one.kind for one in found.others} - {found.blame.kind}
    smallest = f", the smallest of {len(kinds) + 1} kinds of change that do" if kinds else ""
    return f"{found.blame.name} saves the run{smallest}: {left}"


def _unit(found):
    """What steps differ in; without batches they are all alike."""
    return "batch" if any(one.kind is Kind.BATCH for one in found.tried) else "step"


def _listed(changes: tuple[Tried, ...]) -> str:
    shown = [f"{one.name} ({one.share:.0%})" for one in changes[:SHOWN]]
    more = len(changes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _failed(found):
    """What does not save, the batches in one."""
    if found.tried[0].damage == 0:
        return []
    failed = [one for one in found.tried if one.kind is not None and not one.saves]
    batches = [one for one in failed if one.kind is Kind.BATCH]
    others = sorted((one for one in failed if one.kind is not Kind.BATCH), key=lambda one: one.share)
    told = []
    if others:
        told.append(_listed(tuple(others)))
    if batches:
        which = (
            "any other batch" if found.blame and found.blame.kind is Kind.BATCH else f"any of {len(batches)} batches"
        )
        told.append(f"leaving out {which}")
    return [("does not save it", "; ".join(told))] if told else []


def _margin(found):
    margin = found.margin
    seen = [(step, value) for step, value in zip(margin.steps, margin.margins, strict=True) if math.isfinite(value)]
    if not seen:
        return f"not measured: {margin.note}"
    told = ", ".join(f"{size(value) if value > 0 else 0} at {_unit(found)} {step}" for step, value in seen)
    top = max(margin.shares.items(), key=lambda pair: pair[1], default=None)
    where = f"; {top[1]:.0%} of the top direction in {top[0]}" if top else ""
    return f"{told}; 1 is the edge of stability{where}"


def _trust(found):
    told = []
    if found.confirmed:
        told.append("a plain optax loop says the same")
    if found.not_tried:
        told.append(f"not tried: {'; '.join(found.not_tried)}")
    if found.tried:
        told.append(f"{counted(len(found.tried), 'replay')} of {found.curve.size - 1 - found.start} steps")
    return "; ".join([*told, f"{found.seconds:.1f} s"])
