"""Whether a run spikes at all, and how much of that is left when one thing is changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.studies.autopsy.changes import Change
from gdx.studies.autopsy.found import Kind, Tried

if TYPE_CHECKING:
    from jaxtyping import Float

SHARE_OF_LOSS = 0.3
"""Rise, as a share of the loss before it, below which nothing is a spike."""
SPREADS = 1.0
"""The same in standard deviations of the loss between batches."""
SMALL = 0.1
"""Share of the damage to the unchanged run that is little."""
LEFT = 3.0
"""Times what makes a spike, which one batch of a run that is saved may rise by, if that is little beside the spike."""
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
RUNG = 4.0
"""Between two factors that are tried."""
MANY = 0.5
"""Share of the batches from which on it says nothing of one of them that leaving it out saves the run."""


class Spike(NamedTuple):
    """What the unchanged run does, on batches held fixed."""

    has_spike: bool
    onset: int | None
    """Index of the update after which the curve first is above the threshold."""
    start: int
    """Where to begin replays."""
    rise: float
    threshold: float
    curve: Float[np.ndarray, " N+1"]
    """Median over the batches."""
    reference: Float[np.ndarray, " P"]
    """Loss of every batch at the start of the replays."""


class Damage(NamedTuple):
    """Of one lane."""

    total: float
    worst: float


def spike_of(matrix: Float[np.ndarray, "N+1 P"]) -> Spike:
    """Decide whether a run spikes.

    Parameters
    ----------
    matrix
        Loss of every batch (columns) at the parameters after 0 to N updates (rows).

    Returns
    -------
    Spike

    Notes
    -----
    The median over batches held fixed has no batch's own difficulty in it, and one poisoned batch does not move it. It
    has to rise above its lowest value before by more than batches differ from each other there (by their median
    absolute deviation), and by a share of itself.
    """
    # More than half of the batches have to be numbers; where they are not, the run is lost.
    curve = np.median(np.where(np.isfinite(matrix), matrix, np.inf), axis=1)
    lowest = np.minimum.accumulate(curve)
    at_lowest = [int(np.argmin(curve[: i + 1])) for i in range(curve.size)]
    thresholds = np.array([_threshold(matrix[i]) for i in at_lowest])
    with np.errstate(invalid="ignore"):
        rises = np.where(np.isfinite(curve), curve - lowest, np.inf)
    over = np.flatnonzero(rises > thresholds)
    if not np.isfinite(curve[0]) or not over.size:
        # Where it came the closest to one: elsewhere it may rise by more and need more.
        with np.errstate(invalid="ignore", divide="ignore"):
            closest = int(np.argmax(np.nan_to_num(rises / thresholds, nan=0.0, posinf=0.0)))
        worst = closest if np.isfinite(rises).all() else int(np.argmax(rises))
        return Spike(False, None, 0, float(rises[worst]), float(thresholds[worst]), curve, matrix[0])
    first = int(over[0])
    base, threshold = at_lowest[first], float(thresholds[first])
    # What had been learned since the start must not hide a part of the spike.
    start = int(np.flatnonzero(curve[: base + 1] - curve[base] <= threshold / 2)[0])
    return Spike(True, first - 1, start, float(rises.max()), threshold, curve, matrix[start])


def damage_of(losses: Float[np.ndarray, " N"], ends: Float[np.ndarray, " P"], spike: Spike, first: int) -> Damage:
    """Say how far, and how long, a lane lies above what the start makes of the same batches.

    Parameters
    ----------
    losses
        Of the batches from the start of the replay on, before their updates.
    ends
        Of all batches after the last update.
    spike
        Of the unchanged run.
    first
        Column of the reference that the first of the losses belongs to; with one column alone it is that.

    Returns
    -------
    Damage
        The worst rise in units of the threshold.
    """
    reference = spike.reference
    own = reference[first : first + losses.size] if reference.size > 1 else np.repeat(reference, losses.size)
    with np.errstate(invalid="ignore"):
        rises, left = _relative(losses, own, spike), _relative(ends, reference, spike)[np.isfinite(reference)]
    # A batch that is no number at the start says nothing of a lane.
    rises = np.where(np.isfinite(own), np.where(np.isfinite(rises), rises, np.inf), 0.0)
    excess = np.append(rises, np.median(np.where(np.isfinite(left), left, np.inf)))
    return Damage(float(np.sum(np.maximum(excess - spike.threshold / 2, 0))), float(np.max(excess)) / spike.threshold)


def judge(change: Change, losses: Float[np.ndarray, " N"], damage: Damage, control: Damage) -> Tried:
    """Put together what became of a lane.

    Parameters
    ----------
    change
        What was changed.
    losses
        Of the lane.
    damage, control
        To it, and to the unchanged run.

    Returns
    -------
    Tried
    """
    is_part = np.isfinite(damage.total) and control.total > 0
    share = 0.0 if damage.total == 0 else damage.total / control.total if is_part else 1.0
    least = max(1.0, min(LEFT, SMALL * control.worst))
    saves = damage.worst <= least and (not np.isfinite(control.total) or damage.total <= SMALL * control.total)
    return Tried(
        change.kind,
        change.name,
        change.batch,
        change.group,
        change.factor,
        damage.total,
        share,
        damage.worst,
        bool(saves) and change.kind is not None,
        losses,
    )


def savers(tried: list[Tried]) -> tuple[list[Tried], str]:
    """List the changes that save and can be blamed, the smallest first.

    Parameters
    ----------
    tried
        All of them.

    Returns
    -------
    list of Tried, str
        Of every kind the mildest; and why there is none to blame, where that is so.
    """
    left_out = [one for one in tried if one.kind is Kind.BATCH]
    saving = [one for one in left_out if one.saves]
    found: list[Tried] = [one for one in tried if one.saves and one.kind in (Kind.WIDTH, Kind.SCHEDULE, Kind.CLIPPING)]
    if left_out and len(saving) > MANY * len(left_out):
        return [], "leaving out any one of most batches saves it, too: it hangs by a thread, so nothing is to blame"
    found += _one_batch(saving)
    steps = [one for one in tried if one.saves and one.kind is Kind.STEP]
    everywhere = max(steps, key=lambda one: one.factor, default=None)
    if everywhere is not None:
        found.append(everywhere)
    found += _one_group(tried, everywhere, len({one.group for one in tried} - {None}))
    frozen = [one for one in tried if one.saves and one.kind is Kind.FREEZING]
    found += sorted(frozen, key=lambda one: one.damage)
    order = list(Kind)
    found.sort(key=lambda one: order.index(one.kind))  # pyright: ignore[reportArgumentType]
    return found, "" if found else "none of the changes saves it"


def _one_batch(saving):
    """The batch, where it is one; several that save alike say that the run was about to spike anyway."""
    return saving if len(saving) == 1 else []


def _one_group(tried, everywhere, num_groups):
    """The group whose step alone, made smaller, saves the run, where that is a smaller change than everywhere.

    A change is as large as the halvings of the step that it takes, summed over the groups. The factor may be a rung
    stronger than everywhere, since what is left to the other groups has its share in a spike, too.
    """
    best: dict[str, Tried] = {}
    for one in tried:
        if one.kind is Kind.GROUP and one.saves and (one.group not in best or one.factor > best[one.group].factor):
            best[one.group] = one
    found = sorted(best.values(), key=lambda one: -one.factor)
    if everywhere is not None:
        found = [one for one in found if one.factor * RUNG >= everywhere.factor]
        found = [one for one in found if math.log2(one.factor) > num_groups * math.log2(everywhere.factor)]
    # Where two do it alike it is the step that they share.
    return found[:1] if len(found) == 1 or (found and found[0].factor > found[1].factor) else []


def _threshold(losses):
    finite = losses[np.isfinite(losses)]
    middle = np.median(finite) if finite.size else np.inf
    spread = MAD * np.median(np.abs(finite - middle)) if finite.size else np.inf
    return max(SHARE_OF_LOSS * abs(middle), SPREADS * spread, np.finfo(float).tiny)


def _relative(losses, reference, spike):
    """Rise above the reference; of a batch whose loss is large anyway, that in proportion."""
    level = abs(spike.curve[spike.start]) + spike.threshold
    return (losses - reference) / np.maximum(1.0, np.abs(reference) / level)
