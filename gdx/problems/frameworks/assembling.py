"""What all frameworks share: a model's two functions become a problem."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gdx.problems.base import Known, Problem, own_key, stateful_problem
from gdx.problems.batching import with_keys
from gdx.problems.loading import as_batches
from gdx.records import sharing

of_a_model = sharing("""
    batches, num_batches
        As in `gdx.problems.from_batches`: any iterable of batches, or what `batches=` takes in `gdx.problem`. None for
        a loss that takes no batch.
    full_loss
        `full_loss(model) -> scalar`, say of all data or held-out ones; facts and verdicts use it in place of a batch's
        loss. Nothing that it does to the state of the model is kept.
    known
        As in `gdx.problem`.

    Returns
    -------
    Problem
        Its gradients, optimizers and observers see the parameters in the framework's own structure, so that masks and
        labels by name fit.

    Raises
    ------
    ValueError
        If the model is none of the framework's, or as `gdx.problems.from_batches`.
    """)
"""Of a function that takes a model: what its docstring shares with the others'."""


def assembled(
    init: Callable[..., Any],
    applied: Callable[..., Any],
    judged: Callable[..., jax.Array] | None,
    batches: Any,
    num_batches: int | None,
    keyed: bool,
    known: Known | None,
) -> Problem:
    """Make a Problem of what a framework's own file says of a model.

    Parameters
    ----------
    init
        `init(key, args) -> (params, state)`; `args` is a tuple of the first batch, or empty.
    applied
        `applied(params, state, args, key) -> (loss, state)`; without `keyed` the key is None.
    judged
        `judged(params, state) -> scalar`, or None.
    batches, num_batches, known
        As users pass them.
    keyed
        Whether every step has a key of its own.

    Returns
    -------
    Problem
    """
    drawn: Any = None if batches is None else as_batches(batches, num_batches)
    with_batch = drawn is not None
    if keyed:
        drawn = with_keys(drawn) if with_batch else own_key

    def unpacked(batch):
        args, key = (batch if with_batch else ((), batch)) if keyed else (batch, None)
        return (args,) if with_batch else (), key

    def start(key):
        args, _ = unpacked(None if drawn is None else drawn(key, jnp.zeros((), jnp.int32)))
        return init(key, args)

    def loss(params, state, batch=None):
        return applied(params, state, *unpacked(batch))

    return stateful_problem(start, loss, batches=drawn, full_loss=judged, known=known)


@contextlib.contextmanager
def asking(kind: str, remedy: str) -> Iterator[None]:
    """Say what to pass where a framework misses random numbers.

    Parameters
    ----------
    kind
        Name of the framework's error, whose class may be nowhere to be imported from.
    remedy
        The sentence.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ != kind:
            raise
        raise ValueError(remedy) from error


def require(name: str, value: Any, kind: Any, called: str) -> None:
    """Refuse a model that is none of the framework's.

    Parameters
    ----------
    name, value
        Of the argument.
    kind, called
        What it should be an instance of, and how users know that.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name}: {type(value).__name__} is no {called}; pass the model, then the loss, then batches")


def require_callable(loss: Any) -> None:
    """Refuse a loss that is no function.

    Parameters
    ----------
    loss
        As users pass it.
    """
    if not callable(loss):
        raise ValueError(f"loss: {type(loss).__name__} is not callable; pass a function loss(model, batch) -> scalar")
