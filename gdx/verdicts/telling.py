"""What `print(runs)` says: runs hold facts alone, and a person wants to know what became of them."""

from __future__ import annotations

import jax
import numpy as np

from gdx.sweeps import Runs, Stop
from gdx.verdicts.rest import Verdict, verdicts
from gdx.verdicts.training import TrainingVerdict, training_verdicts
from gdx.wording import counted

IN_VAIN = "all failed from step 0; is optax.scale(-1.0) missing in front?"
"""What is said where a line search is led uphill."""


def searched_in_vain(runs: Runs) -> bool:
    """Tell whether the line search of every run failed in every step, without having moved it.

    Parameters
    ----------
    runs
        Facts, concrete.

    Returns
    -------
    bool
        False where there is no search, and where a loss was not finite, which no search can mend.
    """
    stands = np.isfinite(runs.first_loss) & (np.asarray(runs.first_loss) == np.asarray(runs.last_loss))
    fails = (np.asarray(runs.steps) > 0) & (np.asarray(runs.search_failures) >= np.asarray(runs.steps))
    return bool(np.all(stands & fails))


def told(runs: Runs) -> str:
    """Say in a few lines how many runs there are, what became of them and which loss they reached.

    Parameters
    ----------
    runs
        Facts, leaves [S, R] or of any other one shape; traced ones say no more than that.

    Returns
    -------
    str

    Examples
    --------
    Continues the example of `gdx`.

    >>> from gdx.verdicts import told
    >>> print(told(runs))
    Runs [4, 2]: 8 runs at step sizes 0.1 .. 1, of up to 1000 steps
    verdicts: 4 converged, 4 diverged
    as training: 4 trained, 4 blown up
    best loss: 5.82418e-47 at step size 0.1; at the start 4.49369, the median of all
    """
    if not runs.is_concrete:
        return repr(runs)
    facts = jax.tree.map(np.asarray, runs)
    done = facts.stopped != Stop.UNFINISHED
    lines = [f"{runs!r}: {counted(done.size, 'run')}{_where(facts, done)}"]
    unfinished = done.size - np.count_nonzero(done)
    if unfinished:
        lines.append(f"{unfinished} of them were interrupted and are not counted below")
    if unfinished < done.size:
        lines.append(f"verdicts: {_counts(verdicts(facts)[done], Verdict)}")
        lines.append(f"as training: {_counts(training_verdicts(facts)[done], TrainingVerdict)}")
        lines.append(_best(facts, done))
    if searched_in_vain(facts):
        lines.append(f"searches: {IN_VAIN}")
    return "\n".join(lines)


def _where(facts, done):
    sizes = facts.run_step_size[done & np.isfinite(facts.run_step_size)]
    if not sizes.size:
        return ""
    low, high = np.min(sizes), np.max(sizes)
    steps = counted(int(np.max(facts.steps[done])), "step")
    return f" at step size{f' {low:.5g}' if low == high else f's {low:.5g} .. {high:.5g}'}, of up to {steps}"


def _counts(codes, names):
    counts = {name: np.count_nonzero(codes == name) for name in names}
    return ", ".join(f"{count} {name.name.lower().replace('_', ' ')}" for name, count in counts.items() if count)


def _best(facts, done):
    losses = np.where(done & np.isfinite(facts.best_loss), facts.best_loss, np.inf)
    best = np.unravel_index(np.argmin(losses), losses.shape)
    if not np.isfinite(losses[best]):
        return "best loss: none was finite"
    size = facts.run_step_size[best]
    start = np.median(facts.first_loss[done])
    where = f" at step size {size:.5g}" if np.isfinite(size) else ""
    return f"best loss: {losses[best]:.6g}{where}; at the start {start:.6g}, the median of all"


# Runs stand below verdicts and know none, but whoever prints them asks for those first.
Runs.__str__ = lambda self: told(self)
