"""A job's stability in lines that can be acted on."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.studies.stability.causes import AT_LEAST, DISAGREE, NEVER, NOTABLE
from gdx.studies.stability.found import Reached, StepVerdict
from gdx.wording import counted

if TYPE_CHECKING:
    from gdx.studies.stability.found import Stability

WIDTH, INDENT = 80, 34
"""Columns of a terminal, and of what a line is about."""
NARROW = 1.1
"""Factor between the ends of a bracket from which two digits tell them apart."""
BURST = 1.5
"""Times the loss at the start, or that of learning nothing, above which a loss on the way is told."""
CLOSE = 0.1
"""Share of the way from chance to the best within which a loss is back at chance."""


def size(value: float) -> str:
    """Write a step size, or a factor, to two digits, which is what starts agree on.

    Parameters
    ----------
    value
        Positive.

    Returns
    -------
    str
    """
    if not math.isfinite(value):
        return "none"
    if 1 < value < 1.2:
        return f"{value:.3g}"
    return f"{value:.2g}" if not 99.5 <= value < 1e6 else f"{value:.0f}"


def rows(found: Stability) -> list[tuple[str, str, str]]:
    """Say what was found: a name, a number and a sentence each.

    Parameters
    ----------
    found
        Of a job.

    Returns
    -------
    list
    """
    made: list[tuple[str, str, str]] = [_largest(found)]
    if found.is_number:
        made += [_beyond(found), _best(found), _slow(found)]
    if found.step_size is not None:
        made.append(_present(found))
    made += _helps(found)
    if found.is_number:
        made.append(_use(found))
    finder = ", ".join(_suggested(found.range_test, name) for name in found.range_test.suggestions)
    if finder:
        made.append(("a range test would say", "", finder))
    return [*made, _trust(found), _cost(found)]


def lines(found: Stability) -> str:
    """Set the rows below each other, in 80 columns.

    Parameters
    ----------
    found
        Of a job.

    Returns
    -------
    str
    """
    written = []
    for name, value, text in rows(found):
        body = f"{value}   {text}" if value and text else value or text
        written.append(
            textwrap.fill(
                body,
                WIDTH,
                initial_indent=name.ljust(INDENT),
                subsequent_indent=" " * INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(written)


def advice(found: Stability) -> tuple[str, ...]:
    """Say in two sentences what to do, with numbers.

    Parameters
    ----------
    found
        Of a job.

    Returns
    -------
    tuple of str
    """
    if not found.is_number:
        return (f"There is no largest step size to go by: {found.trust.note}.",)
    use = f"Use a step size of {_range(found.good)}"
    present = {
        StepVerdict.BEYOND: f"{size(found.step_size or 0)} is beyond the edge",
        StepVerdict.AT_THE_EDGE: f"{size(found.step_size or 0)} is at the edge",
        StepVerdict.SAFE: f"{size(found.step_size or 0)} is {size(found.headroom)}x below the edge",
        StepVerdict.TOO_SLOW: f"{size(found.step_size or 0)} is too small for {found.horizon} steps",
    }.get(found.verdict)
    first = f"{use}; {present}." if present else f"{use}; every start trains up to {size(found.largest_step.lower)}."
    saving = [cause for cause in found.causes if cause.saves] if found.verdict is StepVerdict.BEYOND else []
    helps = saving or [cause for cause in found.causes if cause.is_sure and cause.factor > 1]
    if helps:
        # What saves the present step size by no more than chance comes after what surely moves the edge.
        best = max(helps, key=lambda cause: cause.is_sure)
        what = "saves the present step size and " if best.saves and found.verdict is StepVerdict.BEYOND else ""
        by = f"at least {size(best.factor)}x" if best.note == AT_LEAST else f"{size(best.factor)}x"
        second = f"Of what was changed, {best.name} {what}moves the edge the most, {by}."
        if not best.is_sure:
            second = (
                f"Of what was changed, {best.name} saves the present step size; chance moves the edge as far ({by})."
            )
    elif any(math.isfinite(cause.factor) for cause in found.causes):
        second = f"Nothing that was changed moves the edge up by more than {NOTABLE:g}x, or than chance does."
    else:
        second = "What would move the edge was not measured: give it a larger budget."
    return first, second


def _largest(found):
    name = "largest step size that trains"
    if not found.is_number:
        return name, "none", found.trust.note
    starts = counted(found.curve.losses.shape[1], "start")
    lower, upper = found.largest_step
    digits = 2 if upper > NARROW * lower else 4
    grid = f"grid x{size(upper / lower)}" if math.isfinite(upper) else "the scan ended there"
    beyond = f"; none beyond {found.none_beyond:.{digits}g}" if math.isfinite(found.none_beyond) else ""
    return name, f"{lower:.{digits}g}", f"every start up to here{beyond} ({starts}, {grid})"


def _beyond(found):
    """Of the step sizes at which no start trains."""
    curve, told = found.curve, []
    beyond = curve.losses[curve.step_sizes >= found.none_beyond]
    finite = beyond[np.isfinite(beyond)]
    if finite.size:
        low, high = np.quantile(finite, [0.1, 0.9])
        gap = curve.chance - found.best_loss
        is_chance = max(abs(low - curve.chance), abs(high - curve.chance)) < CLOSE * gap
        if is_chance:
            told.append(f"dies: loss back at {size(found.dead_loss)} = chance (start {size(curve.start)})")
        else:
            verb = "diverges" if low > max(curve.start, curve.chance) else "does not train"
            told.append(
                f"{verb}: loss {size(low)} to {size(high)} (start {size(curve.start)}, chance {size(curve.chance)})"
            )
    if math.isfinite(found.blows_up_from):
        told.append(f"{'blows up only from' if told else 'blows up from'} {size(found.blows_up_from)}")
    return "what happens beyond", "", "; ".join(told) or "not seen: the scan ended before"


def _best(found):
    is_inside = found.good.lower <= found.best <= found.good.upper
    whole = f"as good from {_range(found.good)}" if " to " in _range(found.good) else ""
    good = whole if is_inside else f"it lies at the edge; away from that {_range(found.good)} is the best"
    return "best", size(found.best), f"loss {size(found.best_loss)}{'; ' * bool(good)}{good}"


def _slow(found):
    if not math.isfinite(found.too_slow_below):
        return "too slow below", "", f"not seen: the smallest tried, {size(found.curve.step_sizes[0])}, trains"
    text = f"loss falls by less than half of what the best does in {found.horizon} steps"
    return "too slow below", size(found.too_slow_below), text


def _present(found):
    told = [found.verdict.value]
    step = found.step_size
    if found.is_number and found.verdict is StepVerdict.BEYOND:
        told.append(f"{size(1 / found.headroom)}x beyond the largest that trains")
    elif found.is_number:
        told.append(f"{size(found.headroom)}x below the edge")
    if found.is_number and step < found.best:
        told.append(f"{size(found.best / step)}x below the best")
    told += _transient(found)
    text = ", ".join(told)
    if found.margin.step_size == step:
        looks = (found.margin.late, "late in the run"), (found.margin.first, f"at step {found.margin.first_step}")
        margins = [f"{size(margin)} {when}" for margin, when in looks if math.isfinite(margin)]
        # A network that has died sits on a plain.
        is_idle = found.curve.chance - found.margin.losses[-1:] < CLOSE * (found.curve.chance - found.best_loss)
        plain = ", where nothing is learned" if np.any(is_idle) else ""
        text += f"; curvature margin {', '.join(margins)}{plain}" if margins else ""
    return f"you, at {size(step)}", "", text


def _transient(found):
    """How high the loss went on the way, of a run that is judged by its end."""
    at = np.flatnonzero(np.isclose(found.curve.step_sizes, found.step_size, rtol=1e-6, atol=0))
    if found.runs is None or not at.size or found.verdict is StepVerdict.BEYOND:
        return []
    worst, usual = float(np.max(np.asarray(found.runs.worst_loss)[at[0]])), max(found.curve.start, found.curve.chance)
    return [f"after bursts to {size(worst)} on the way"] if worst > BURST * usual > 0 else []


def _helps(found):
    made, others = [], []
    for cause in found.causes:
        if not math.isfinite(cause.factor):
            continue
        saves = cause.saves and found.verdict is StepVerdict.BEYOND
        if not (cause.is_sure or saves):
            others.append(cause.name)
            continue
        tail = ", saves the present step size" if saves else ""
        bound = "at least " if cause.note == AT_LEAST else ""
        at = f"{size(cause.largest_step.lower)} against {size(cause.largest_step.lower / cause.factor)} beside it"
        proven = f" ({size(cause.between.lower)} to {size(cause.between.upper)})" if _is_bounded(cause) else ""
        text = f"edge {bound}{size(cause.factor)}x{proven}, {at}{tail}"
        made.append((f"with {cause.name}", "", text))
    if others:
        made.append(("moves it no more than chance", "", ", ".join(others)))
    never = [cause.name for cause in found.causes if cause.note == NEVER]
    if never:
        made.append(("nothing tried trained with", "", ", ".join(never)))
    disputed = [cause.name for cause in found.causes if cause.note == DISAGREE]
    if disputed:
        made.append(("the two roads disagree about", "", ", ".join(disputed)))
    told = NEVER, DISAGREE
    missing = [cause.name for cause in found.causes if not math.isfinite(cause.factor) and cause.note not in told]
    if missing:
        made.append(("not measured", "", ", ".join(missing)))
    top = max(found.margin.shares.items(), key=lambda pair: pair[1], default=None)
    if top is not None and len(found.margin.shares) > 1:
        made.append(("top curvature direction", "", f"{top[1]:.0%} of it in {top[0]}"))
    return made


def _is_bounded(cause):
    return cause.between.lower > 0 and math.isfinite(cause.between.upper)


def _use(found):
    return "use", _range(found.good), ""


def _range(pair):
    lower, upper = (size(end) for end in pair)
    return lower if lower == upper else f"{lower} to {upper}"


def _suggested(test, name):
    low, high = test.ranges.get(name, (math.nan, math.nan))
    by_start = f" ({size(low)} to {size(high)} by start)" if high > NOTABLE * low else ""
    return f"{name} {size(test.suggestions[name])}{by_start}"


def _trust(found):
    starts = found.curve.losses.shape[1]
    told = []
    if found.is_number and starts > 1:
        told.append(
            f"{starts} starts agree within {size(found.spread)}x" if found.spread > 1 else f"{starts} starts agree"
        )
    if found.trust.num_runs:
        told.append(f"{found.trust.num_agree} of {found.trust.num_runs} plain optax runs come out the same")
    if found.trust.note and found.is_number:
        told.append(found.trust.note)
    if not found.is_number:
        return "trust", "", "; ".join(told) or "nothing to be trusted"
    if found.reached is not Reached.FULL_RUNS:
        told.append(f"judged by {found.reached.value} ({found.horizon} of {found.num_steps} steps)")
    return "trust", "", "; ".join([*told, "not tested: other horizons"])


def _cost(found):
    text = f"{counted(found.num_trainings, 'training')} of {found.horizon} steps, {found.seconds:.0f} s"
    return "cost", "", text
