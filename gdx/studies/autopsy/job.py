"""What is replayed: a loss, an optimizer, a checkpoint, and the batches that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import check_count, inside
from gdx.problems.base import Problem
from gdx.stepping.keys import batch_key
from gdx.studies.stability.changes import groups_of
from gdx.trees import strong

if TYPE_CHECKING:
    import chex

FEWEST = 3
"""Steps below which there is nothing to compare."""


class Place(NamedTuple):
    """Where a run is."""

    params: chex.ArrayTree
    model_state: chex.ArrayTree
    opt_state: optax.OptState


class Job(NamedTuple):
    """A run to be made again."""

    loss: Callable[..., tuple[jax.Array, chex.ArrayTree]]
    """`loss(params, model_state, batch) -> (scalar, model_state)`."""
    optimizer: optax.GradientTransformationExtraArgs
    start: Place
    batches: Any
    """Pytree of arrays [N, ...]; numbers that nobody looks at for a loss without batches."""
    has_batches: bool
    num_steps: int
    groups: dict[str, list[int]]
    """Leaves of every group of parameters, by name."""

    @property
    def probes(self) -> Any:
        """Batches [P, ...] that a place is judged by."""
        return self.batches if self.has_batches else batches_from(self.batches, 0, 1)

    def group_of_leaf(self) -> np.ndarray:
        """Number of the group that every leaf belongs to."""
        found = np.zeros(len(jax.tree.leaves(self.start.params)), int)
        for number, leaves in enumerate(self.groups.values()):
            found[leaves] = number
        return found


def make_job(
    loss: Any,
    optimizer: Any,
    params: chex.ArrayTree,
    opt_state: optax.OptState,
    batches: Any,
    model_state: Any,
    groups: Any,
    key: Any,
    step: int,
    num_steps: int | None,
) -> Job:
    """Check what `gdx.autopsy` was given, and bring it into one form.

    Raises
    ------
    ValueError
        In one sentence, for whatever could not be replayed.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"optimizer: {type(optimizer).__name__} has no init and update; pass an optax transformation")
    stateful: Any
    stateful, model_state = _loss_of(loss, batches is not None, model_state)
    stacked, number = _batches_of(loss, batches, key, step, num_steps)
    has_batches = stacked is not None
    stacked = stacked if has_batches else jnp.arange(number)
    leaves = jax.tree.leaves(params)
    if not leaves or not all(jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) for leaf in leaves):
        raise ValueError("params: they have to be floating arrays; close over what is not trained")
    # What a scan carries keeps its type.
    place = Place(*(strong(tree) for tree in (params, model_state, opt_state)))
    optimizer = optax.with_extra_args_support(optimizer)
    job = Job(stateful, optimizer, place, stacked, has_batches, number, _groups_of(params, groups))
    _check_runs(job)
    return job


def batch_at(batches: Any, step: Any) -> Any:
    """Give one of the batches.

    Parameters
    ----------
    batches
        Pytree of arrays [N, ...].
    step
        Which.

    Returns
    -------
    pytree
    """
    return jax.tree.map(lambda leaf: leaf[step], batches)


def batches_from(batches: Any, first: int, last: int | None = None) -> Any:
    """Give some of the batches.

    Parameters
    ----------
    batches
        Pytree of arrays [N, ...].
    first, last
        As in a slice.

    Returns
    -------
    pytree
    """
    return jax.tree.map(lambda leaf: leaf[first:last], batches)


def _loss_of(loss, has_batches, model_state):
    """One inner form: `(params, model_state, batch) -> (scalar, model_state)`, and the state it begins with."""
    if isinstance(loss, Problem):
        takes_batch = has_batches or loss.batches is not None
        return (
            lambda params, state, batch: loss.loss(params, state, batch if takes_batch else None),
            () if model_state is None else model_state,
        )
    if not callable(loss):
        raise ValueError(f"loss: {type(loss).__name__} is not callable; pass loss(params, batch), or a gdx.Problem")
    if model_state is None:
        return (lambda params, state, batch: (loss(params, batch) if has_batches else loss(params), state)), ()
    if has_batches:
        return loss, model_state
    return (lambda params, state, batch: loss(params, state)), model_state


def _batches_of(loss, batches, key, step, num_steps):
    """Stacked, and how many there are."""
    if num_steps is not None:
        num_steps = check_count("num_steps", num_steps, "pass the number of steps to replay", FEWEST)
    if batches is None:
        if num_steps is None:
            raise ValueError("batches: there are none; pass those that follow the checkpoint, or num_steps")
        if not isinstance(loss, Problem) or loss.batches is None:
            return None, num_steps
        if key is None:
            raise ValueError("key: it is missing; a Problem's batches are drawn with the key of the run")
        step = check_count("step", step, "pass the number of updates made before the checkpoint", 0)
        source, draws = loss.batches, batch_key(key)
        draw = jax.jit(lambda draws, step: source(draws, step))
        batches = [draw(draws, jnp.int32(step + i)) for i in range(num_steps)]
    if isinstance(batches, Sequence) and not hasattr(batches, "_fields") and not isinstance(batches, tuple):
        batches = _stacked(batches)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batches)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError("batches: their arrays have no one leading axis of steps; pass a list of batches")
    (number,) = next(iter(lengths))
    if num_steps is not None and num_steps < number:
        batches, number = jax.tree.map(lambda leaf: leaf[:num_steps], batches), num_steps
    if number < FEWEST:
        raise ValueError(f"batches: {number} are too few to tell one from the others; pass {FEWEST} or more")
    return jax.tree.map(jnp.asarray, batches), number


def _stacked(batches):
    if not batches:
        raise ValueError("batches: the list is empty; pass the batches that follow the checkpoint")
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(batch)] for batch in batches]
    structures = [jax.tree.structure(batch) for batch in batches]
    for i, (shape, structure) in enumerate(zip(shapes, structures, strict=True)):
        if shape != shapes[0] or structure != structures[0]:
            raise ValueError(f"batches: number {i} is not shaped as the first one; leave out a smaller last batch")
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *batches)


def _groups_of(params, groups):
    if groups is None:
        return groups_of(params)
    labels = groups(params) if callable(groups) else groups
    if jax.tree.structure(labels) != jax.tree.structure(params):
        raise ValueError("groups: they are not structured as the parameters; pass a name for every leaf")
    found: dict[str, list[int]] = {}
    for i, label in enumerate(jax.tree.leaves(labels)):
        found.setdefault(str(label), []).append(i)
    return found


def _check_runs(job):
    """Refuse what cannot be run, by what is to blame for it."""
    batch = jax.eval_shape(lambda: batch_at(job.batches, 0))
    params, state, opt_state = job.start
    with inside("loss"):
        value = jax.eval_shape(job.loss, params, state, batch)
    if not (isinstance(value, tuple) and len(value) == 2):
        raise ValueError("loss: with a model state it has to return (scalar, model_state)")
    if getattr(value[0], "shape", None) != ():
        raise ValueError(f"loss: it returns shape {getattr(value[0], 'shape', None)}, not one number; take a mean")
    expected = jax.eval_shape(job.optimizer.init, params)
    if jax.tree.structure(opt_state) != jax.tree.structure(expected):
        raise ValueError("opt_state: it is no state of this optimizer on these parameters; pass that of the checkpoint")
    for old, new in zip(jax.tree.leaves(opt_state), jax.tree.leaves(expected), strict=True):
        if np.shape(old) != new.shape:
            raise ValueError(
                f"opt_state: it holds shape {np.shape(old)} where {new.shape} belongs; pass that of the checkpoint"
            )
