"""The facts that a sweep keeps about every run."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from gdx.records import legend, record

STEP_SIZES = ("step_size", "learning_rate", "lr")
"""Names by which a step size is known among several hyperparameters."""

if TYPE_CHECKING:
    Fact = jax.Array | np.ndarray


@legend
class Stop(enum.IntEnum):
    """Why a run ended.

    Examples
    --------
    Continues the example of `gdx`.

    >>> [gdx.Stop(int(code)).name for code in runs.stopped[:, 0]]
    ['HORIZON', 'HORIZON', 'BLOWN_UP', 'BLOWN_UP']
    """

    UNFINISHED = 0
    """It did not: the sweep was interrupted."""
    HORIZON = 1
    """It took all its steps."""
    CONVERGED = 2
    """The gradient norm was at or below the tolerance over the whole tail."""
    NONFINITE = 3
    """Loss, gradient or parameters were no longer finite."""
    BLOWN_UP = 4
    """The loss passed the blow-up bound."""
    REPEATED = 5
    """Parameters and state came back exactly, so nothing new can come."""
    SMALL_GRADIENT = 6
    """The gradient norm reached the bound of `Stopping.gradient_norm`."""
    SMALL_CHANGE = 7
    """The relative change of the loss reached the bound of `Stopping.loss_change`."""


@record
class Stopping(NamedTuple):
    """Which rules may end a run before its horizon; each can be switched on or off.

    With all off a sweep gives the same verdicts as with all on, except where a run would have changed its mind:

    - `converged`, off by default: just above an edge a run first comes close to the minimum along all other
      directions, stays below the tolerance for a whole tail, and only then does the unstable direction grow. Logistic
      regression on breast-cancer seems to converge up to 1.037 of its critical step size with this rule, and up to
      1.002 of it without. Adam, too, touches the tolerance and bursts hundreds of steps later.
    - `blow_up`: a start where the loss rises more than `blow_up_factor` times its first value and then comes down
      again (a deep network far from balance) counts as diverged.
    - `nonfinite`: an optimizer that skips steps which are not finite (`optax.apply_if_finite`) may recover.
    - `repeated`: none. It compares everything that the next step depends on, so it only ever fires where
      nothing depends on the step number: no batches, no schedule, no bias correction.

    Two more end a run as people state it, at the first step where it holds, whatever comes after: `gradient_norm`, an
    absolute bound, and `loss_change`, a bound on |loss - last loss| / |last loss|, from one step to the next or, where
    a full loss is judged, from one evaluation to the next. A budget of steps is `num_steps`.
    With either of them every step is watched. `steps` and `last_loss` are then those of that step exactly; the
    facts of the tail are about the whole window that it stands in, and observers see that window to its end.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> stopping = gdx.Stopping(gradient_norm=1e-3)  # ends a run at the first such step
    >>> run = gdx.sweep(gdx.problems.quadratic([2.0], start=[1.0]), optax.sgd, num_steps=1_000, stopping=stopping)
    >>> bool(run([0.25], jax.random.split(jax.random.key(0), 1)).steps.max() < 100)
    True
    """

    converged: bool = False
    """Where the gradient norm was at or below the tolerance over a whole tail."""
    nonfinite: bool = True
    """Where loss, gradient or parameters are no longer finite."""
    blow_up: bool = True
    """Where the loss passes the blow-up bound."""
    repeated: bool = True
    """Where everything came back exactly."""
    gradient_norm: float | None = None
    """At the first step with a gradient norm at or below it; None for never."""
    loss_change: float | None = None
    """At the first step whose loss changes by no more than that, relative; None for never."""

    @property
    def is_stated(self) -> bool:
        """Whether a rule ends a run at the very step where it holds."""
        return self.gradient_norm is not None or self.loss_change is not None

    @classmethod
    def none(cls) -> Stopping:
        """Switch all rules off: every run goes on to its horizon.

        Returns
        -------
        Stopping
        """
        return cls(False, False, False, False)


@record
class Runs(NamedTuple):
    """Facts about every run, not verdicts; leaves [S, R].

    The tail is the last W steps before the run ended, also when it retired early. A run that stopped being finite or
    blew up has no tail: NaN, and 0 for `loss_rises`. Lanes leave between blocks of steps only, so `steps` of a run that
    retired early as converged or repeating counts to the end of its block.

    Examples
    --------
    Continues the example of `gdx`.

    >>> runs.steps.shape, runs.steps[0].tolist()
    ((4, 2), [1000, 1000])
    >>> bool((runs.last_loss[0] < runs.first_loss[0]).all())
    True
    """

    stopped: Fact
    """`Stop` code, int8."""
    steps: Fact
    """Updates made, int32."""
    hyperparams: Any
    """What each run was run at, so that runs that are sorted, joined or stored keep their axes: step sizes, or a pytree
    of hyperparameters, leaves [S, R]."""
    first_loss: Fact
    """At the start, before any step."""
    best_loss: Fact
    """Smallest up to the step that ended the run, and before the first bad one; every step counts, also those that are
    hardly looked at, or where a full loss is judged every evaluation."""
    last_loss: Fact
    """At the last step taken; not finite or beyond `loss_bound` where that ended the run."""
    first_gradient_norm: Fact
    """At the start; NaN, as all norms, where gradients are left out."""
    tail_steps: Fact
    """Length of the tail, W, or of the run where that is shorter; int32."""
    tail_loss: Fact
    """Mean over the tail."""
    tail_gradient_norm_min: Fact
    """Smallest over the tail."""
    tail_gradient_norm_mean: Fact
    """Mean over the tail."""
    tail_gradient_norm_max: Fact
    """Largest over the tail."""
    gradient_rate: Fact
    """Change of the log gradient norm per step over the tail."""
    loss_rises: Fact
    """Steps of the tail at which the loss rose, int32; -1 where the tail holds fewer than two losses to compare."""
    third_quarter_rise: Fact
    """As `last_quarter_rise`, in the quarter of the horizon before."""
    last_quarter_rise: Fact
    """How far, at most, the mean loss of a block of steps was above the smallest in the window before it, in the third
    and in the last quarter of the horizon; 0 where it never was, as where the loss falls, and where the horizon has
    fewer than four blocks. A block belongs to the quarter that it ends in; a long horizon has at least eight. Of a full
    loss that is judged apart the largest that was evaluated in a block counts in place of its mean."""
    calm_gradient_norm: Fact
    """Smallest over the windows of the horizon's second half of their largest gradient norm."""
    climbs: Fact
    """Windows in a row, up to the last, whose largest gradient norm was above that of the one before; int32."""
    trend: Fact
    """-1 where the largest gradient norm of the last three windows sank to a new low each time, so that the run is
    still on its way down, 1 where it climbed to a new high each time, otherwise 0; int32."""
    first_bad_step: Fact
    """First step at which the loss was not finite or beyond `loss_bound`; -1 for none, int32."""
    period: Fact
    """Steps after which the orbit comes back, 0 where it does not within the tail, has not settled, or has converged;
    int32."""
    near_period: Fact
    """Steps, 1, 2 or 4, after which the orbit nearly comes back all along the tail, else 0; -1 where nobody looked,
    since cycles were left out or the tail is shorter than five steps; int32."""
    still: Fact
    """1 where no parameter moved, all along the tail, by more than rounding of the largest one, else 0; int32. Such an
    orbit may cycle for ever among neighbouring numbers, which says nothing of the step size."""
    repeats_after: Fact
    """Steps after which everything came back exactly, 0 where it did not, int32."""
    tolerance: Fact
    """Gradient norm relative to the first at which a run counts as converged; what the sweep was told."""
    loss_bound: Fact
    """Distance above the first loss beyond which a run counts as blown up, and the same below it where the loss falls
    that far below zero."""
    search_failures: Fact
    """Steps at which the optimizer's line search or solver found no acceptable step, int32; 0 where it has none."""
    tail_search_failures: Fact
    """The same in the tail, int32."""
    first_training_loss: Fact
    """Of the loss that is trained on, at the start: with batches the mean over the first eight of them."""
    null_loss: Fact
    """The same of a model that has learned nothing: `Known.chance` where that is known, else about the best that a
    network can do whose weights are all zero, so that its output is a constant; may be NaN."""
    minimum: Fact
    """`Known.minimum` of the problem, NaN where it is unknown."""
    middle_loss: Fact
    """Mean of the loss that is trained on over the block of steps that holds the middle of the horizon; NaN where there
    is one block alone, or the run ended before."""
    late_loss: Fact
    """Mean of the loss that is trained on over the last tenth of the horizon, rounded up to whole blocks where that is
    longer than W, or over the tail of a run that ended before; NaN where it was not finite or the run ended badly."""
    late_loss_max: Fact
    """Largest of those that were watched: in the last tenth, or in the windows of W steps that end in it."""
    worst_loss: Fact
    """Largest mean over a block of steps of the loss that is trained on, or that at the start; NaN does not count."""
    observed: dict[str, Any]
    """Observers' summaries by name."""

    @property
    def run_step_size(self) -> Fact:
        """Of every run, [S, R]: the hyperparameter, where there is one alone; else NaN.

        Of several it is one named `step_size`, `learning_rate` or `lr`.
        """
        leaves = jax.tree.leaves_with_path(self.hyperparams)
        if len(leaves) == 1:
            return leaves[0][1]
        for path, leaf in leaves:
            if getattr(path[-1], "key", getattr(path[-1], "name", None)) in STEP_SIZES:
                return leaf
        return np.full(np.shape(self.stopped), np.nan)

    @property
    def step_sizes(self) -> Fact:
        """The axis: one step size [S] of all starts.

        Raises
        ------
        ValueError
            If runs side by side were run at others, or at none that is known.
        """
        every = self.run_step_size
        axis = every[:, 0] if np.ndim(every) == 2 and np.shape(every)[1] else None
        if axis is None or not (isinstance(every, Tracer) or np.all(np.asarray(every) == np.asarray(axis)[:, None])):
            raise ValueError("runs: there is no one step size [S] along their first axis; pass runs of a sweep over it")
        return axis

    @property
    def is_concrete(self) -> bool:
        """Whether all facts are numbers of one shape, none of them traced or left out."""
        facts = [fact for name, fact in self._asdict().items() if name not in ("hyperparams", "observed")]
        kinds = (np.ndarray, np.generic, jax.Array)
        return all(isinstance(fact, kinds) and not isinstance(fact, Tracer) for fact in facts) and (
            len({np.shape(fact) for fact in facts}) == 1
        )

    def __repr__(self) -> str:
        """All facts have one shape, which is all that a line has room for."""
        shape = getattr(self.stopped, "shape", None)
        traced = ", traced" if isinstance(self.stopped, Tracer) else ""
        observed = f", observed {', '.join(self.observed)}" if isinstance(self.observed, dict) and self.observed else ""
        return f"Runs {'?' if shape is None else list(shape)}{traced}{observed}"
