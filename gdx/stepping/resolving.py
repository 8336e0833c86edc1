"""From what a caller hands over to a Problem and an optax transformation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from gdx.checks import inside
from gdx.problems.base import Problem
from gdx.responses.families import as_transformation

Family = Callable[[Any], optax.GradientTransformation]
"""A callable `hyperparams -> optax transformation`; a step size or a pytree of numbers goes in.

Examples
--------
>>> import optax, gdx
>>> family: gdx.stepping.Family = lambda h: optax.sgd(h["step_size"], momentum=h["momentum"])
>>> isinstance(family({"step_size": 0.1, "momentum": 0.9}), optax.GradientTransformation)
True
"""


def resolve_problem(problem: Problem | Callable[[Any], Problem], hyperparams: Any) -> Problem:
    """Give the Problem at these hyperparameters.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`.
    hyperparams
        What the callable takes.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> import gdx
    >>> bowl = lambda h: gdx.problems.quadratic([h["curvature"]])
    >>> gdx.stepping.resolve_problem(bowl, {"curvature": 5.0}).known.min_sharpness
    5.0
    """
    here = problem
    if callable(problem) and not isinstance(problem, Problem):
        with inside("problem"):
            here = problem(hyperparams)
    if not isinstance(here, Problem):
        raise ValueError(f"problem: {type(here).__name__} is no gdx.Problem; make one with gdx.problem(init, loss)")
    return here


def transformation_of(family: Family, hyperparams: Any) -> optax.GradientTransformationExtraArgs:
    """Call the family and check that an optax transformation comes back.

    Parameters
    ----------
    family
        `hyperparams -> optax transformation`.
    hyperparams
        A step size or a pytree of numbers.

    Returns
    -------
    optax.GradientTransformationExtraArgs

    Raises
    ------
    ValueError
        If it is no callable, or what comes back is no transformation.

    Examples
    --------
    >>> import optax, gdx
    >>> isinstance(gdx.stepping.transformation_of(optax.sgd, 0.1), optax.GradientTransformationExtraArgs)
    True
    """
    if not callable(family):
        raise ValueError(
            f"family: {type(family).__name__} is not callable; pass a callable step_size -> optax transformation, "
            "such as optax.sgd, not optax.sgd(0.1)"
        )
    with inside("family"):
        try:
            made = family(hyperparams)
        except KeyError as error:
            name = error.args[0] if error.args else None
            if not isinstance(hyperparams, Mapping) or name in hyperparams:
                raise
            raise ValueError(
                f"family: it asks for hyperparams[{name!r}], where there are {', '.join(map(repr, hyperparams))}; "
                "pass what it takes"
            ) from error
    transformation = as_transformation(made)
    if transformation is None:
        raise ValueError(
            f"family: it returns {type(made).__name__}, no optax transformation; "
            "pass a callable step_size -> optax transformation, such as optax.sgd"
        )
    return optax.with_extra_args_support(transformation)


def told_by(look: Callable[..., Any], *shapes: Any) -> Any:
    """Learn what a function says of arguments that are known by shape alone; nothing is computed.

    Parameters
    ----------
    look
        Called once, inside a trace. What it returns may be anything but traced values.
    *shapes
        Pytrees of arrays or of their shapes.

    Returns
    -------
    What it returns.

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> gdx.stepping.told_by(lambda x: x.shape, jnp.ones((3, 2)))
    (3, 2)
    """
    told = []
    jax.eval_shape(lambda *args: told.append(look(*args)), *shapes)
    return told[0]
