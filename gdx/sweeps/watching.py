"""Observers of the caller's, checked before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gdx.checks import inside
from gdx.observers import Observer
from gdx.sweeps.runs import Runs
from gdx.trees import strong


def check_observers(observers: Any) -> dict[str, Observer]:
    """Refuse what are no observers by name.

    Parameters
    ----------
    observers
        Name to `Observer`, or None.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no mapping, a name is no identifier or that of a fact, or what it stands for is no `Observer`.
    """
    if observers is None:
        return {}
    if not isinstance(observers, Mapping):
        raise ValueError(f"observers: {type(observers).__name__} is no dict; pass gdx.Observer triples by name")
    for name, observer in observers.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"observers: {name!r} is no identifier, which files need; call it my_observer, say")
        if name in Runs._fields:
            raise ValueError(f"observers: {name!r} is the name of a fact; choose another")
        if not (isinstance(observer, Observer) and all(callable(part) for part in observer)):
            raise ValueError(
                f"observers[{name!r}]: {type(observer).__name__} is no gdx.Observer(init, update, summarise) of "
                "functions; make one"
            )
    return {name: _strong_observer(observer) for name, observer in observers.items()}


def check_watching(observers: Mapping[str, Observer], params: Any, view: Any) -> int:
    """Refuse observers that could not watch a run, by shapes alone.

    Parameters
    ----------
    observers
        Name to `Observer`.
    params, view
        Shapes of a run's parameters and of what its step shows.

    Returns
    -------
    int
        Bytes of all summaries of one run.

    Raises
    ------
    ValueError
        If one raises, its state changes structure, shape or dtype from step to step, or its summary is no arrays of
        numbers.
    """
    num_bytes = 0
    for name, observer in observers.items():
        whose = f"observers[{name!r}]"
        with inside(whose):
            before = jax.eval_shape(observer.init, params)
            after = jax.eval_shape(observer.update, before, view)
        _check_same(whose, before, after)
        with inside(whose):
            summary = jax.eval_shape(observer.summarise, before)
        for path, leaf in jax.tree.leaves_with_path(summary):
            if not (jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool):
                where = jax.tree_util.keystr(path)
                raise ValueError(f"{whose}: its summary{where} has dtype {leaf.dtype}, no numbers; return numbers")
            num_bytes += leaf.size * leaf.dtype.itemsize
    return num_bytes


def _strong_observer(observer):
    """The same without weak types, so that the state that a loop carries keeps its type."""
    return Observer(
        init=lambda params: strong(observer.init(params)),
        update=lambda state, view: strong(observer.update(state, view)),
        summarise=observer.summarise,
    )


def _check_same(whose, before, after):
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError(
            f"{whose}: its state is {jax.tree.structure(after)} after an update and {jax.tree.structure(before)} "
            "before; keep one structure"
        )
    for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ValueError(
                f"{whose}: its state{jax.tree_util.keystr(path)} is {old.dtype}{list(old.shape)} from init and "
                f"{new.dtype}{list(new.shape)} after an update; begin it as what it becomes, or cast it in update"
            )
