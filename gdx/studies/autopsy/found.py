"""What `gdx.autopsy` finds, as values."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from gdx.records import legend, record
from gdx.studies.stability.found import Margin

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


@legend
class Kind(enum.Enum):
    """What is changed, from the smallest change to the largest: of those that save, the first is to blame.

    Examples
    --------
    Continues the example of `gdx.autopsy`.

    >>> found.blame.kind.name
    'BATCH'
    """

    WIDTH = "width of numbers"
    """The same batches, steps and formulas in wider numbers: only rounding and overflow are taken away."""
    BATCH = "batch"
    """One update is not made."""
    SCHEDULE = "schedule"
    """Step sizes that the optimizer takes from a schedule stay as they are at the checkpoint."""
    GROUP = "step of a group"
    """A smaller step in one group of parameters, where that takes fewer halvings, summed over the groups, than it does
    everywhere, and a factor that is about as strong."""
    STEP = "step everywhere"
    """A smaller step in all parameters."""
    CLIPPING = "clipping"
    """Gradients are kept to the norm that they had before. After the step, since large gradients are what a spike is
    made of, whatever began it."""
    FREEZING = "freezing"
    """One group of parameters does not learn at all."""


@record
class Tried(NamedTuple):
    """One thing changed, and what became of the run with it.

    Examples
    --------
    Continues the example of `gdx.autopsy`.

    >>> found.blame.saves, found.blame.batch
    (True, 7)
    """

    kind: Kind | None
    """What was changed; None for nothing, and for changes that show something but could be no remedy."""
    name: str
    """In words."""
    batch: int | None
    """Index into the batches that were passed, of a batch left out or alone."""
    group: str | None
    """Of the parameters that were treated apart."""
    factor: float
    """By which updates were multiplied there, or the bound on gradients; 1 where neither was changed."""
    damage: float
    """Sum over the steps of how far the loss lies above what the start makes of the same batch, counted from half of
    what makes a spike; infinite where a loss was not finite."""
    share: float
    """Of the damage to the unchanged run; 1 where both are infinite."""
    worst: float
    """Largest rise above the start on one batch, in units of what makes a spike."""
    saves: bool
    """Whether the damage is a small share of that to the unchanged run, and no spike is left but a small one."""
    losses: Float[np.ndarray, " N"]
    """Of every batch from the start of the replay on, at the parameters before its update."""


@record
class Autopsy(NamedTuple):
    """Why a run blew up within a few steps, as far as changing one thing at a time can tell.

    Examples
    --------
    Continues the example of `gdx.autopsy`.

    >>> found.has_spike, found.blame.batch
    (True, 7)
    """

    has_spike: bool
    """Whether the loss of the unchanged run, on batches held fixed, rises by more than noise at all."""
    blame: Tried | None
    """The smallest change that saves the run; None for none, and `reason` says why."""
    reason: str
    """Why there is no blame, where there is none."""
    others: tuple[Tried, ...]
    """What saves it, too, in the order of `Kind`."""
    tried: tuple[Tried, ...]
    """Every replay; the first is the unchanged run."""
    onset: int | None
    """Index of the batch whose update first lifted the loss by more than noise."""
    start: int
    """Index of the batch that the replays begin with: 0 unless much was learned between that and the spike."""
    rise: float
    """Largest rise of the curve above its lowest value before; infinite where it was not finite."""
    threshold: float
    """Rise from which it is a spike: the spread between batches, or a share of the loss itself."""
    curve: Float[np.ndarray, " N+1"]
    """Loss of the unchanged run after 0 to N updates, median over all batches: no batch's own difficulty is in it."""
    losses: Float[np.ndarray, " N"]
    """Of the unchanged run as it was trained, a batch a step."""
    margin: Margin
    """Curvature's view of the unchanged run, up to the spike: 1 at the edge of stability."""
    confirmed: bool | None
    """Whether a plain loop, which shares nothing with the replays, says the same of the unchanged run and of the blamed
    change; None where there was nothing to confirm."""
    not_tried: tuple[str, ...]
    """What could not be changed, and why."""
    seconds: float
    """All of it took."""

    def __str__(self) -> str:
        """Say it in a few lines that can be acted on."""
        from gdx.studies.autopsy.words import lines

        return lines(self)
