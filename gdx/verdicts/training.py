"""Trained, too slow, dead, bursting or blown up: runs against the best of their sweep and against learning nothing."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gdx.records import legend, record
from gdx.sweeps import Runs
from gdx.verdicts.rest import evidence, namespace

if TYPE_CHECKING:
    from jaxtyping import Array, Int8

LEAST_GAIN = 0.05
"""Share of the loss at chance, or of the whole fall where that is less, that the best run must gain on chance."""
NOTHING = 0.01
"""Share of the first loss below which parameters of zero are no chance level but a perfect fit."""
LINEAR = 0.4
"""Share of a run's whole fall that its second half brings where it falls steadily, as at a step size far too small."""
FALLING, WORSE = 0.1, 0.25
"""Shares of the way from chance to the best by which a loss that falls has done so since the middle, and by which one
that got worse than at the start exceeds that."""
FLAT, SPAN = 0.02, 2.0
"""Of a plateau to which dead runs come back: how closely they agree, of the way from chance to the best, and over what
range of step sizes they do."""
LEAP = 2.0
"""Times the usual largest loss of trained runs that a burst exceeds, which leaves out the noise of batches."""


@legend
class TrainingVerdict(enum.IntEnum):
    """What became of a run as training.

    Examples
    --------
    Continues the example of `gdx`.

    >>> [gdx.TrainingVerdict(int(code)).name for code in gdx.training_verdicts(runs)[:, 0]]
    ['TRAINED', 'TRAINED', 'BLOWN_UP', 'BLOWN_UP']
    """

    TRAINED = 0
    """Its late loss is below halfway between that of learning nothing and the best of the sweep."""
    TOO_SLOW = 1
    """Not there, at a step size below those that train, and no worse than its start: more steps would tell."""
    DEAD = 2
    """Not there, at a step size above some that train: back at the loss of learning nothing, worse, or stuck above
    halfway."""
    BURSTING = 3
    """There on average, but not clearly, since its late loss leaps above that of learning nothing."""
    BLOWN_UP = 4
    """The loss was no longer finite, or beyond the blow-up bound."""
    UNDECIDED = 5
    """Not there, with nothing to say whether it is slow or dead: still falling at a large step size, or interrupted."""


@record
class TrainingLevel(NamedTuple):
    """What the runs of one sweep are held against, numbers.

    Examples
    --------
    Continues the example of `gdx`.

    >>> from gdx.verdicts import training_level
    >>> level = training_level(runs)
    >>> bool(level.best < level.halfway < level.chance)
    True
    """

    chance: Any
    """Loss of learning nothing."""
    best: Any
    """Smallest late loss of all runs; infinite where none stayed finite."""
    halfway: Any
    """Below it a run is trained; -infinite where no run of the sweep has learned anything that can be told from chance,
    or the best one is itself merely on its way."""


@np.errstate(all="ignore")
def training_verdicts(runs: Runs) -> Int8[Array, "S R"]:
    """Say what became of every run as training: trained, too slow, dead, bursting, blown up or undecided.

    Parameters
    ----------
    runs
        Facts, leaves [S, R], of one problem. All runs are held against the best among them, so pass all that there are,
        of step sizes that train and of such that do not: a few runs around an edge have no scale by themselves.

    Returns
    -------
    array
        `TrainingVerdict` codes, int8, [S, R].

    Notes
    -----
    A run is judged by the mean of the loss that is trained on over the last tenth of the horizon. It is trained where
    that is below halfway between chance and the best of the sweep, see `training_level`; clearly, where it is below a
    quarter. Between the two, at a step size above one that trains clearly, it bursts if its largest late loss is above
    chance and above twice the lower quartile of those of trained runs, which is the noise of batches.

    One that is not trained is too slow up to the smallest step size at which the same start trains clearly, and dead
    above, but for one that still falls and is nearer to halfway than to chance. Where there is no one step size, or no
    start trains, it is dead if its loss was once worse than at the start and no longer falls, too slow if it never was
    and either falls or has hardly moved, as a network may that died at once, and otherwise undecided.

    Examples
    --------
    Continues the example of `gdx`.

    >>> [gdx.TrainingVerdict(int(code)).value for code in gdx.training_verdicts(runs)[:, 0]]
    [0, 0, 4, 4]
    """
    xp, facts = namespace(runs)
    level = training_level(runs)
    seen = evidence(xp, facts, None)
    blown = seen.diverged | (~seen.unfinished & ~xp.isfinite(facts.late_loss))
    gain = xp.where(xp.isfinite(level.best), level.chance - level.best, 1.0)
    late = xp.where(blown | seen.unfinished, xp.inf, facts.late_loss)
    below = late <= level.halfway
    peaks = xp.where(below, facts.late_loss_max, xp.inf)
    usual = _quantile(xp, peaks, 0.25)
    leaps = (facts.late_loss_max > level.chance) & (facts.late_loss_max > level.best + LEAP * (usual - level.best))
    clear = late <= level.chance - 0.75 * gain
    clear &= below
    is_above, knows_order = _is_above(xp, facts.run_step_size, clear)
    worst = xp.where(knows_order, facts.late_loss, facts.worst_loss)
    since_start, since_middle = facts.first_training_loss - facts.late_loss, facts.middle_loss - facts.late_loss
    came_to_rest = (since_start > FALLING * gain) & (since_middle < FALLING * since_start)
    is_worse = worst > facts.first_training_loss + WORSE * gain
    falls = since_middle > FALLING * gain
    is_near = late < (level.chance + level.halfway) / 2
    codes = xp.select(
        [
            seen.unfinished,
            blown,
            seen.stuck,
            below & leaps & ~clear & xp.where(knows_order, is_above, ~falls),
            below,
            knows_order & is_above & falls & is_near,
            knows_order & is_above,
            ~is_worse & (knows_order | ~came_to_rest),
            ~is_worse | knows_order | falls,
        ],
        [
            TrainingVerdict.UNDECIDED,
            TrainingVerdict.BLOWN_UP,
            TrainingVerdict.DEAD,
            TrainingVerdict.BURSTING,
            TrainingVerdict.TRAINED,
            TrainingVerdict.UNDECIDED,
            TrainingVerdict.DEAD,
            TrainingVerdict.TOO_SLOW,
            TrainingVerdict.UNDECIDED,
        ],
        TrainingVerdict.DEAD,
    )
    return codes.astype(jnp.int8)


@np.errstate(all="ignore")
def training_level(runs: Runs) -> TrainingLevel:
    """Say what the runs of one sweep are held against as training.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].

    Returns
    -------
    TrainingLevel

    Notes
    -----
    Chance is the smallest of: the median first loss; the null loss, `Known.chance` or that of parameters of zero; and
    the plateau, if there is one, to which the runs at the largest step sizes come back whatever their start. Starts may
    lie far above chance, so that a dead network has "improved" on them. Parameters of zero that fit perfectly, as the
    minimum of a quadratic, are no chance.

    Examples
    --------
    Continues the example of `gdx`.

    >>> from gdx.verdicts import training_level
    >>> bool(training_level(runs).best < 1e-9)
    True
    """
    xp, facts = namespace(runs)
    seen = evidence(xp, facts, None)
    usable = ~seen.diverged & ~seen.unfinished & xp.isfinite(facts.late_loss)
    late = xp.where(usable, facts.late_loss, xp.inf)
    best = xp.min(late)
    start = _median(xp, facts.first_training_loss)
    null = _median(xp, facts.null_loss)
    is_chance = (null < start) & ((null > best) | (null > NOTHING * abs(start)))
    chance = xp.where(is_chance, null, start)
    chance = xp.minimum(chance, _plateau(xp, facts, late, chance, best))
    gain = chance - best
    learns = gain > LEAST_GAIN * xp.minimum(abs(chance), start - best)
    on_its_way = _best_is_on_its_way(xp, facts, late, (chance + best) / 2)
    halfway = xp.where(learns & ~on_its_way & xp.isfinite(best), (chance + best) / 2, -xp.inf)
    return TrainingLevel(chance, best, halfway)


def _is_above(xp, step_size, clear):
    """Whether a run's step size is above the smallest at which its start trains clearly, and whether that is known.

    A start that trains nowhere is held against the others.
    """
    smallest = xp.min(xp.where(clear, step_size, xp.inf), axis=0, keepdims=True)
    anywhere = xp.isfinite(smallest)
    others = xp.max(xp.where(anywhere, smallest, -xp.inf))
    smallest = xp.where(anywhere, smallest, xp.where(xp.any(anywhere), others, xp.inf))
    return step_size > smallest, xp.any(anywhere) & ~xp.isnan(step_size)


def _best_is_on_its_way(xp, facts, late, halfway):
    """Whether the best run falls steadily still and nothing at larger step sizes is worse: the sweep ends too early."""
    index = xp.argmin(late)
    step_size = facts.run_step_size.ravel()[index]
    beyond = facts.run_step_size > step_size
    middle, last = facts.middle_loss.ravel()[index], facts.late_loss.ravel()[index]
    steadily = middle - last > LINEAR * (facts.first_training_loss.ravel()[index] - last)
    return steadily & ~xp.isnan(step_size) & ~xp.any(beyond & (late > halfway))


def _plateau(xp, facts, late, chance, best):
    """Level at which runs of two starts or more at the largest step sizes lie flat and agree, infinite for none."""
    width = FLAT * (chance - best)
    good = late < best + 0.25 * (chance - best)
    last_good = xp.max(xp.where(good, facts.run_step_size, -xp.inf))
    beyond = xp.isfinite(late) & (facts.run_step_size > last_good)
    flat = beyond & (abs(facts.middle_loss - facts.late_loss) <= width)
    level = _quantile(xp, xp.where(flat, late, xp.inf), 0.25)
    agree = flat & (abs(late - xp.where(xp.isfinite(level), level, 0)) <= width)
    sizes = xp.where(agree, facts.run_step_size, xp.nan)
    low, high = xp.min(xp.where(agree, sizes, xp.inf)), xp.max(xp.where(agree, sizes, -xp.inf))
    lowest = xp.min(xp.where(beyond, late, xp.inf))
    starts = xp.sum(xp.any(agree, axis=0))
    is_one = (starts >= 2) & (xp.sum(agree) >= 3) & (high >= SPAN * low) & (lowest >= level - width)
    return xp.where(is_one, level, xp.inf)


def _median(xp, values):
    return _quantile(xp, xp.where(xp.isfinite(values), values, xp.inf), 0.5)


def _quantile(xp, values, share):
    """Lower quantile of the finite values, infinite where there are none."""
    ordered = xp.sort(values.ravel())
    count = xp.sum(xp.isfinite(ordered))
    return ordered[xp.maximum(((count - 1) * share).astype(int), 0)]
