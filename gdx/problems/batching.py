"""Losses that are means over examples, in full or a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx import trees
from gdx.problems.base import Epochs, Known, Problem, own_key, problem

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float


def minibatches(
    data: chex.ArrayTree, batch_size: int, *, replacement: bool = False
) -> Epochs | Callable[[chex.PRNGKey, jax.Array], Any]:
    """Cut examples into batches, reshuffled every epoch, or drawn with replacement.

    Runs with the same key see the same batches, whatever their step size.

    Parameters
    ----------
    data
        Pytree of arrays [M, ...].
    batch_size
        Examples b in a batch, from 1 to M.
    replacement
        Whether every batch is drawn anew from all examples; otherwise every epoch sees each example once.

    Returns
    -------
    Epochs or callable
        For `batches=`. A batch is `(rows, weights)`: a pytree of arrays [b, ...] and weights [b] that sum to 1, so that
        a loss is `jnp.sum(weights * losses)`. Where b does not divide M the last batch of an epoch is smaller: its
        unused rows repeat its first one with weight 0. `with_keys` puts a dropout key beside it.

    Raises
    ------
    ValueError
        If the arrays differ in length, or the batch size is no whole number from 1 to M.

    Examples
    --------
    >>> import jax, numpy as np, gdx
    >>> batches = gdx.problems.minibatches(np.arange(6.0), 2)
    >>> rows, weights = batches(jax.random.key(0), 0)
    >>> rows.shape, weights.tolist(), batches.num_steps
    ((2,), [0.5, 0.5], 3)
    """
    data, num_examples = _examples(data)
    size = _checked_size(batch_size, num_examples)

    def rows(indices):
        return trees.rows(data, indices)

    even = np.full(size, 1.0 / size)
    if replacement:

        def draw(key, step):
            indices = jax.random.randint(jax.random.fold_in(key, step), (size,), 0, num_examples)
            return rows(indices), jnp.asarray(even)

        return draw

    num_steps = -(-num_examples // size)
    rest = num_examples - (num_steps - 1) * size
    last = np.where(np.arange(size) < rest, 1.0 / rest, 0.0)

    def order(key, epoch):
        drawn = shuffled(key, epoch, num_examples)
        padding = jnp.broadcast_to(drawn[(num_steps - 1) * size], (size - rest,))
        return jnp.concatenate([drawn, padding])

    def take(order, position):
        indices = jax.lax.dynamic_slice(order, (position * size,), (size,))
        weights = jnp.asarray(even)
        if rest < size:
            weights = jnp.where(position % num_steps == num_steps - 1, jnp.asarray(last), weights)
        return rows(indices), weights

    return Epochs(order, take, num_steps)


def shuffled(key: chex.PRNGKey, epoch: jax.Array, number: int) -> jax.Array:
    """Draw the order of an epoch.

    Parameters
    ----------
    key, epoch
        Of the run, and which epoch.
    number
        Of what is put in order.

    Returns
    -------
    array
        Each of 0 to number - 1 once, int32 [number].
    """
    # One sort by random bits: two of M equal bits in 2^32 bias nothing that can be seen.
    return jnp.argsort(jax.random.bits(jax.random.fold_in(key, epoch), (number,))).astype(jnp.int32)


def with_keys(batches: Callable[[chex.PRNGKey, jax.Array], Any]) -> Callable[[chex.PRNGKey, jax.Array], Any]:
    """Give every batch a random key of its own, for dropout and other noise.

    Parameters
    ----------
    batches
        `batches(key, step) -> batch`; of `minibatches` or `epochs_of`, orders are still drawn ahead of the steps.

    Returns
    -------
    callable
        `batches(key, step) -> (batch, key)`. The batches are those that there were; the key is
        folded out of the run's key and the step: another one in every step and every run, from which no order was
        drawn, and the same for runs with one repeat key whatever their step size.

    Raises
    ------
    ValueError
        If `batches` is not callable, or gives keys already.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> def loss(w, batch):
    ...     ((x, y), weights), key = batch
    ...     kept = jax.random.bernoulli(key, 0.9, x.shape)
    ...     return jnp.sum(weights * ((x * kept) @ w - y) ** 2)
    >>> data = jnp.ones((8, 3)), jnp.ones(8)
    >>> noisy = gdx.problem(jnp.zeros(3), loss, batches=gdx.problems.with_keys(gdx.problems.minibatches(data, 4)))
    >>> batch, key = noisy.batches(jax.random.key(0), 0)
    >>> key.shape
    ()
    """
    if not callable(batches):
        raise ValueError(
            f"batches: {type(batches).__name__} is not callable; pass what minibatches or epochs_of return"
        )
    if isinstance(batches, Epochs):
        if batches.keyed:
            raise ValueError("batches: they come with keys already; pass them as they are")
        return batches._replace(keyed=True)

    def keyed(key, step):
        return batches(key, step), own_key(key, step)

    return keyed


def finite_sum(
    init: Callable[[chex.PRNGKey], chex.ArrayTree] | chex.ArrayTree,
    losses: Callable[[chex.ArrayTree, Any], Float[Array, " b"]],
    data: chex.ArrayTree,
    *,
    batch_size: int | None = None,
    replacement: bool = False,
    known: Known | None = None,
    maximise: bool = False,
) -> Problem:
    """Make a Problem whose loss is the mean over examples, trained in full or in mini-batches.

    Parameters
    ----------
    init
        As in `gdx.problem`.
    losses
        `losses(params, rows) -> [b]`, one loss an example, for any number b of rows; a penalty is added to every one.
    data
        Pytree of arrays [M, ...], of which rows are taken.
    batch_size
        Examples in a batch, from 1 to M; None for all in every step.
    replacement
        As in `minibatches`.
    known, maximise
        As in `gdx.problem`; closed forms are those of the full loss.

    Returns
    -------
    Problem
        With mini-batches, facts and verdicts are about the mean over all examples, its `full_loss`.

    Raises
    ------
    ValueError
        As `minibatches`.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, gdx
    >>> x, y = np.eye(4, 3), np.ones(4)
    >>> def losses(w, rows):
    ...     x, y = rows
    ...     return 0.5 * (x @ w - y) ** 2
    >>> one_at_a_time = gdx.problems.finite_sum(jnp.zeros(3), losses, (x, y), batch_size=1)
    >>> float(one_at_a_time.full_loss(jnp.zeros(3), ()))
    0.5
    """
    data, _ = _examples(data)

    def full_loss(params):
        return jnp.mean(losses(params, data))

    if batch_size is None:
        return problem(init, full_loss, known=known, maximise=maximise)

    def loss(params, batch):
        rows, weights = batch
        each = losses(params, rows)
        return jnp.sum(weights.astype(each.dtype) * each)

    batches = minibatches(data, batch_size, replacement=replacement)
    return problem(init, loss, batches=batches, full_loss=full_loss, known=known, maximise=maximise)


def _examples(data):
    data = jax.tree.map(jnp.asarray, data)
    lengths = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"data: its arrays have {sorted(lengths)} examples; pass arrays [M, ...] of one length M")
    return data, lengths.pop()


def _checked_size(batch_size, num_examples):
    try:
        size = range(num_examples + 1)[batch_size]
    except (TypeError, IndexError):
        size = 0
    if size < 1 or isinstance(batch_size, bool) or batch_size != size:
        raise ValueError(
            f"batch_size: {batch_size!r} is no whole number in [1, {num_examples}], the number of examples; "
            "leave it out for the full batch"
        )
    return size
