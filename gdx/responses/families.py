"""What comes back from a family, as an optax transformation."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gdx.checks import UNTRACEABLE


def as_transformation(made: Any) -> optax.GradientTransformation | None:
    """Turn what a family returns into an optax transformation.

    Parameters
    ----------
    made
        A transformation; an object that says what its transformation is, as `optax.MultiSteps` does; or any object with
        functions `init(params)` and `update(gradient, state, params)`.

    Returns
    -------
    optax.GradientTransformation or None
        None where it is none of these.
    """
    if isinstance(made, optax.GradientTransformation):
        return made
    parts: list[Any] = [getattr(made, name, None) for name in ("gradient_transformation", "init", "update")]
    make, init, update = parts
    if callable(make) and not isinstance(made, type):
        return as_transformation(make())
    if callable(init) and callable(update) and not isinstance(made, type):
        return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
    return None


def checked_family(family: Any) -> Callable[[Any], optax.GradientTransformation]:
    """Check that a family is a callable that returns transformations.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    callable
        The same, whatever kind of transformation it returns.

    Raises
    ------
    ValueError
        If it is no callable, or what comes back at a step size of 1 is no transformation.
    """
    if not callable(family) or as_transformation(family) is not None:
        raise ValueError(
            f"family: {type(family).__name__} is no callable step_size -> optax transformation; pass optax.sgd, not "
            "optax.sgd(0.1)"
        )

    def transformation(step_size):
        made = family(step_size)
        found = as_transformation(made)
        if found is None:
            raise ValueError(
                f"family: it returns {type(made).__name__}, no optax transformation; return one, as optax.sgd does"
            )
        return found

    transformation(1.0)
    return transformation


def name_of(family: Any) -> tuple | None:
    """Something equal for families that are surely the same, so that nothing is measured twice.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    tuple or None
        None where it cannot be told: a function of somebody else's may look at what changes between two calls.
    """
    if isinstance(family, functools.partial):
        func, arguments = name_of(family.func), (*family.args, *family.keywords.values())
        if func is None or not all(isinstance(one, bool | int | float | str | None) for one in arguments):
            return None
        return (func, tuple(family.keywords), *((type(one), one) for one in arguments))
    is_known = inspect.isfunction(family) and (family.__module__ or "").partition(".")[0] in ("optax", "gdx")
    return (family,) if is_known and family.__closure__ is None else None


@contextlib.contextmanager
def concretely() -> Iterator[None]:
    """Compute numbers here, even where the caller is being traced: families close over numbers, not tracers.

    Raises
    ------
    ValueError
        If the family does close over one.
    """
    # Outside of traces nothing is entered, since that has constants computed one operation after another, also those
    # inside of what is jitted, and each is a program to compile.
    is_traced = isinstance(jnp.zeros(()), Tracer)
    try:
        with jax.ensure_compile_time_eval() if is_traced else contextlib.nullcontext():
            yield
    except UNTRACEABLE as error:
        raise ValueError(
            "family: it closes over a number that is being traced (jit, vmap, grad), and is measured by its numbers; "
            "pass one that closes over plain numbers"
        ) from error


_SPAN: contextvars.ContextVar[dict | None] = contextvars.ContextVar("span", default=None)
"""What has been made of anybody's families since the outermost `measured_once` began."""


@contextlib.contextmanager
def measured_once() -> Iterator[None]:
    """Measure every family once from here on, also one of the caller's own.

    A decorator of studies that ask for one in several places: somebody else's function may become another between two
    calls of a study, but not within one.

    Yields
    ------
    None
    """
    if _SPAN.get() is not None:
        yield
        return
    token = _SPAN.set({})
    try:
        yield
    finally:
        _SPAN.reset(token)


def remembered(store: dict, family: Any, params: Any, make: Callable[[], Any]) -> Any:
    """Give what was made before of a family and parameters of some shapes, where both are surely the same.

    That is so of optax's and gdx's own families always, and of any within `measured_once`.

    Parameters
    ----------
    store
        Of one kind of things, small ones, which are all kept.
    family
        `step_size -> optax transformation`, as it was passed; what checks have wrapped is nobody's.
    params
        Arrays, tracers or shapes, or None.
    make
        Makes it; called where nothing is remembered.

    Returns
    -------
    Any

    Raises
    ------
    ValueError
        As `make` did; a refusal is remembered, too.
    """
    name, span = name_of(family), _SPAN.get()
    if name is None:
        if span is None:
            return make()
        # The span holds the family as well, so that no other one takes its place in memory meanwhile.
        name, store = (id(family),), span.setdefault(id(store), {})
        span[id(family), "held"] = family
    shapes = tuple(leaf.shape if hasattr(leaf, "shape") else np.shape(leaf) for leaf in jax.tree.leaves(params))
    key = name, jax.tree.structure(params), shapes
    if key not in store:
        try:
            store[key] = make()
        except ValueError as error:
            # Without the places that it came by, which hold on to what is being traced.
            store[key] = type(error)(*error.args)
            raise
    found = store[key]
    if isinstance(found, ValueError):
        raise found.with_traceback(None)
    return found
