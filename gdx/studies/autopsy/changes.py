"""One thing changed about a few steps of training, all of them numbers of one program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

from gdx.studies.autopsy.found import Kind

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FACTORS = (0.5, 0.25, 1 / 16, 1 / 64)
"""Of the step, in a group or everywhere."""
WORDS = {0.5: "half", 0.25: "a quarter of", 1 / 16: "a sixteenth of", 1 / 64: "a 64th of"}


class Change(NamedTuple):
    """One thing changed, in words and as numbers."""

    kind: Kind | None
    name: str
    batch: int | None
    group: str | None
    factor: float
    applied: Bool[np.ndarray, " N"]
    """Of which batches the update is made."""
    factors: Float[np.ndarray, " G"]
    """Of the updates, a group each."""
    bound: float
    """On the norm of gradients."""
    holds: bool
    """Whether schedules stay where they are."""


def changes_of(
    num_steps: int, first: int, groups: list[str], has_batches: bool, bound: float, has_schedule: bool
) -> list[Change]:
    """List what is tried; the first is the unchanged run.

    Parameters
    ----------
    num_steps
        N, of a replay.
    first
        Index of its first batch.
    groups
        Names.
    has_batches
        Whether one step sees other examples than the next, so that one may be left out.
    bound
        On the norm of gradients, for clipping.
    has_schedule
        Whether the optimizer takes step sizes from a schedule.

    Returns
    -------
    list of Change
    """
    none = Change(
        None, "nothing changed", None, None, 1.0, np.ones(num_steps, bool), np.ones(len(groups)), np.inf, False
    )
    made = [none]
    if has_schedule:
        name = "schedules held where they are at the checkpoint"
        made.append(none._replace(kind=Kind.SCHEDULE, name=name, holds=True))
    made += [
        none._replace(
            kind=Kind.STEP, name=f"{WORDS[factor]} the step everywhere", factor=factor, factors=none.factors * factor
        )
        for factor in FACTORS
    ]
    if np.isfinite(bound) and bound > 0:
        name = f"gradients clipped to {bound:.2g}, their norm before"
        made.append(none._replace(kind=Kind.CLIPPING, name=name, factor=bound, bound=bound))
    if has_batches:
        for i in range(num_steps):
            batch, is_it = first + i, np.arange(num_steps) == i
            made.append(
                none._replace(kind=Kind.BATCH, name=f"batch {batch} left out", batch=batch, factor=0.0, applied=~is_it)
            )
            made.append(none._replace(name=f"batch {batch} alone", batch=batch, applied=is_it))
    for number, group in enumerate(groups if len(groups) > 1 else []):
        for factor in (*FACTORS, 0.0):
            name = f"{WORDS[factor]} the step in {group}" if factor else f"{group} frozen"
            made.append(
                none._replace(
                    kind=Kind.GROUP if factor else Kind.FREEZING,
                    name=name,
                    group=group,
                    factor=factor,
                    factors=np.where(np.arange(len(groups)) == number, factor, 1.0),
                )
            )
    return made


def has_schedule(opt_state: Any) -> bool:
    """Say whether a state holds the count of a schedule, one of optax's own.

    Parameters
    ----------
    opt_state
        Of any optimizer.

    Returns
    -------
    bool
    """
    return any(_is_scheduled(node) for node in jax.tree.leaves(opt_state, is_leaf=_is_scheduled))


def with_counts_of(new: Any, old: Any) -> Any:
    """Set the counts of schedules back to those of another state.

    Parameters
    ----------
    new, old
        States of one optimizer.

    Returns
    -------
    pytree
        The new one otherwise.
    """
    return jax.tree.map(
        lambda one, before: _held(one, before) if _is_scheduled(one) else one,
        new,
        old,
        is_leaf=_is_scheduled,
    )


def _is_scheduled(node):
    if isinstance(node, optax.InjectStatefulHyperparamsState):
        # What is injected as a number stays as it is anyway.
        return bool(node.hyperparams_states)
    return isinstance(node, optax.ScaleByScheduleState)


def _held(new, old):
    if isinstance(new, optax.ScaleByScheduleState):
        return new._replace(count=old.count)
    return new._replace(count=old.count, hyperparams_states=old.hyperparams_states)
