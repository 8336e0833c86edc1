"""Batches as people have them: a list, a generator, a loader."""

from __future__ import annotations

import collections
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx import trees
from gdx.checks import check_count, first_line, inside
from gdx.problems.base import Epochs, Known, Problem, problem
from gdx.problems.batching import shuffled, with_keys

if TYPE_CHECKING:
    import chex

MOST_BATCHES = 1024
"""Taken from an iterable where nobody says otherwise."""
MOST_BYTES = 2**28
"""Of batches, after which no more are taken where nobody says how many."""


def epochs_of(batches: Iterable[Any], num_batches: int | None = None) -> Epochs:
    """Hold the batches of any iterable, to be given in an order that is drawn anew every epoch.

    Parameters
    ----------
    batches
        A list, a generator, a loader: anything that gives batches, each a pytree of arrays (NumPy's, JAX's, or what
        `numpy.asarray` takes, as tensors of PyTorch on a CPU). It is gone through once and may be endless.
    num_batches
        How many are taken at most; by default 1,024, or as many as come to 256 MiB.

    Returns
    -------
    Epochs
        For `batches=`. An epoch is all batches that were kept, those of the commonest shape: a smaller one at the end
        is left out. Runs with one key see one order, those with another key another.

    Raises
    ------
    ValueError
        If there are no batches, they hold no arrays, or half of them or more have shapes of their own.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> epochs = gdx.problems.epochs_of([(np.ones((8, 3)), np.ones(8)), (np.zeros((8, 3)), np.zeros(8))])
    >>> epochs.num_steps
    2
    """
    if num_batches is not None:
        num_batches = check_count("num_batches", num_batches, "leave it out for all, up to 1,024")
    kept = _of_one_shape(_taken(batches, num_batches))
    stacked = jax.tree.map(_stacked, *kept)
    number = len(kept)

    def take(order, position):
        return trees.rows(stacked, order[position])

    return Epochs(lambda key, epoch: shuffled(key, epoch, number), take, number)


def from_batches(
    loss: Callable[..., jax.Array],
    params: Callable[[chex.PRNGKey], chex.ArrayTree] | chex.ArrayTree,
    batches: Iterable[Any],
    *,
    num_batches: int | None = None,
    keyed: bool = False,
    full_loss: Callable[[chex.ArrayTree], jax.Array] | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of what a training loop has: a loss, parameters, and batches.

    Parameters
    ----------
    loss
        `loss(params, batch) -> scalar`, or `loss(params, batch, key)` where batches are `keyed`.
    params
        Any pytree of floating arrays, or a function `key -> params`, which makes another start of every key.
    batches, num_batches
        As in `epochs_of`: any iterable of pytrees of arrays, of which batches of one shape are held. Also whatever
        `batches=` takes in `gdx.problem`.
    keyed
        Whether the loss takes a random key as well, another in every step: for dropout.
    full_loss
        `full_loss(params) -> scalar`, say of held-out data; facts and verdicts use it in place of a batch's loss.
    known
        As in `gdx.problem`.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        As `epochs_of`, and if the loss is not callable.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, gdx
    >>> def loss(w, batch):
    ...     return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)
    >>> loader = ({"x": np.eye(3) + i, "y": np.ones(3)} for i in range(4))
    >>> fit = gdx.problems.from_batches(loss, jnp.zeros(3), loader)
    >>> fit.batches.num_steps  # an epoch
    4
    """
    if not callable(loss):
        raise ValueError(
            f"loss: {type(loss).__name__} is not callable; pass from_batches(loss, params, batches) in this order"
        )
    drawn = as_batches(batches, num_batches)

    def of_keyed(params, batch):
        return loss(params, *batch)

    return problem(
        params,
        of_keyed if keyed else loss,
        batches=with_keys(drawn) if keyed else drawn,
        full_loss=full_loss,
        known=known,
    )


def as_batches(batches: Any, num_batches: int | None = None) -> Callable[[chex.PRNGKey, jax.Array], Any]:
    """Let through what gdx takes for batches, and hold those of any iterable.

    Parameters
    ----------
    batches, num_batches
        As in `epochs_of`, or `Epochs`, or a function `batches(key, step) -> batch`.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        As `epochs_of`.
    """
    if _is_generator_function(batches):
        with inside("batches"):
            return epochs_of(batches(), num_batches)
    return batches if isinstance(batches, Epochs) or _is_function(batches) else epochs_of(batches, num_batches)


def _is_generator_function(batches) -> bool:
    return inspect.isgeneratorfunction(batches)


def _is_function(batches) -> bool:
    return callable(batches) and not hasattr(batches, "__iter__")


def _taken(batches, num_batches):
    """Batches as pytrees of NumPy arrays, as many as are asked for, or as can be held."""
    try:
        iterator = iter(batches)
    except TypeError:
        raise ValueError(
            f"batches: {type(batches).__name__} cannot be iterated over; pass a list, a generator or a loader"
        ) from None
    taken, num_bytes = [], 0
    while True:
        with inside("batches"):
            batch = next(iterator, taken)
        if batch is taken:
            break
        taken.append(jax.tree.map(_as_array, batch))
        num_bytes += sum(leaf.nbytes for leaf in jax.tree.leaves(taken[-1]))
        if len(taken) == (num_batches or MOST_BATCHES) or (num_batches is None and num_bytes >= MOST_BYTES):
            break
    if not taken:
        raise ValueError("batches: there are none; pass an iterable that gives at least one, not one that is used up")
    return taken


def _as_array(leaf):
    if isinstance(leaf, jax.Array):
        return leaf
    try:
        # A copy, since loaders may fill one array again and again.
        array = np.array(leaf)
    except Exception as error:
        raise ValueError(
            f"batches: {type(leaf).__name__} is no array ({first_line(error)}); pass pytrees of NumPy arrays"
        ) from error
    if not (jnp.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise ValueError(f"batches: {leaf!r:.60} is no array of numbers; pass batches that are pytrees of such arrays")
    return array


def _of_one_shape(taken):
    """Those of the commonest shape, which are to be more than half."""
    kinds = [_kind(batch) for batch in taken]
    (kind, number), *_ = collections.Counter(kinds).most_common(1)
    if not kind[1]:
        raise ValueError("batches: they hold no arrays; pass batches that are pytrees of arrays, [b, ...] each")
    if 2 * number <= len(taken):
        shapes = ", ".join(sorted({_told(kind) for kind in kinds})[:3])
        raise ValueError(
            f"batches: no more than {number} of {len(taken)} have one shape ({shapes}); "
            "pass batches of one size, the last one padded or left out"
        )
    return [batch for batch, own in zip(taken, kinds, strict=True) if own == kind]


def _kind(batch):
    leaves, structure = jax.tree.flatten(batch)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def _told(kind):
    return " and ".join(str(list(shape)) for shape, _ in kind[1]) or "nothing"


def _stacked(*leaves):
    if any(isinstance(leaf, jax.Array) for leaf in leaves):
        return jnp.stack(leaves)
    # On the host, so that one array goes to the device and not every batch and then all.
    return jnp.asarray(np.stack(leaves))
