"""Observers of the caller's, checked before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gdx.checks import inside
from gdx.observers import Observer
from gdx.stepping import TrainState, View
from gdx.stepping.tangents import movable
from gdx.sweeps.runs import Runs, Stopping
from gdx.trees import strong, widest


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
        if not (isinstance(observer, Observer) and all(callable(part) for part in observer[:3])):
            raise ValueError(
                f"observers[{name!r}]: {type(observer).__name__} is no gdx.Observer(init, update, summarise) of "
                "functions; make one"
            )
        if isinstance(observer.tangents, bool) or not isinstance(observer.tangents, int) or observer.tangents < 0:
            raise ValueError(
                f"observers[{name!r}]: tangents is {observer.tangents!r}; pass how many vectors are to be pushed, or 0"
            )
    return {name: _strong_observer(observer) for name, observer in observers.items()}


def suited_stopping(stopping: Stopping, observers: Mapping[str, Observer]) -> Stopping:
    """Leave out the rules that would end a run which an observer has to see to its horizon.

    Parameters
    ----------
    stopping
        As given.
    observers
        Name to `Observer`.

    Returns
    -------
    Stopping

    Raises
    ------
    ValueError
        If a run is to end where something holds that was stated.
    """
    whole = [name for name, observer in observers.items() if observer.whole_horizon]
    if not whole:
        return stopping
    if stopping.is_stated:
        raise ValueError(
            f"stopping: it ends runs early, and observers[{whole[0]!r}] has to see them to their horizon; "
            "leave out gradient_norm and loss_change, or the observer"
        )
    return stopping._replace(converged=False, repeated=False)


def num_tangents(observers: Mapping[str, Observer]) -> int:
    """Give the number of tangent vectors that a run carries for all of its observers, who share them.

    Parameters
    ----------
    observers
        Name to `Observer`.

    Returns
    -------
    int
    """
    return max((observer.tangents for observer in observers.values()), default=0)


def seen_by(observer: Observer, view: View, horizon: int) -> View:
    """Give what an observer sees of a step.

    Parameters
    ----------
    observer
        Of a run.
    view
        With the growth of as many tangents as any of the run's observers asks for.
    horizon
        Of the run, steps.

    Returns
    -------
    View
        With that of as many as this one asks for.
    """
    growth = view.growth[: observer.tangents] if observer.tangents and view.growth is not None else None
    return view._replace(growth=growth, horizon=horizon)


def check_watching(observers: Mapping[str, Observer], state: TrainState, view: View, horizon: int) -> int:
    """Refuse observers that could not watch a run, by shapes alone.

    Parameters
    ----------
    observers
        Name to `Observer`.
    state, view
        Shapes of a run's state and of what its step shows.
    horizon
        Of the run, steps.

    Returns
    -------
    int
        Bytes of all summaries of one run.

    Raises
    ------
    ValueError
        If one raises, its state changes structure, shape or dtype from step to step, its summary is no arrays of
        numbers, or it asks for more tangents than a step has dimensions.
    """
    num_bytes = 0
    leaves = movable(state)
    dimension = sum(leaf.size for leaf in leaves)
    for name, observer in observers.items():
        whose = f"observers[{name!r}]"
        if observer.tangents > dimension:
            raise ValueError(
                f"{whose}: tangents is {observer.tangents}, and all that a step moves are {dimension} numbers; "
                "ask for no more than that"
            )
        growth = jax.ShapeDtypeStruct((observer.tangents,), widest(leaves)) if observer.tangents else None
        with inside(whose):
            before = jax.eval_shape(observer.init, state.params)
            after = jax.eval_shape(_watching(observer, horizon), before, view._replace(growth=growth))
        _check_same(whose, before, after)
        with inside(whose):
            summary = jax.eval_shape(observer.summarise, before)
        for path, leaf in jax.tree.leaves_with_path(summary):
            if not (jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool):
                where = jax.tree_util.keystr(path)
                raise ValueError(f"{whose}: its summary{where} has dtype {leaf.dtype}, no numbers; return numbers")
            num_bytes += leaf.size * leaf.dtype.itemsize
    return num_bytes


def _watching(observer, horizon):
    """An observer's update in a run, of arrays alone."""
    return lambda state, view: observer.update(state, seen_by(observer, view, horizon))


def _strong_observer(observer):
    """The same without weak types, so that the state that a loop carries keeps its type."""
    return observer._replace(
        init=lambda params: strong(observer.init(params)),
        update=lambda state, view: strong(observer.update(state, view)),
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
