"""Two-layer linear networks, whose edge has a closed form for every start and every parameterisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.edges import critical_step_size
from gdx.problems import LayerScales, Problem, layer_scales, mlp
from gdx.stepping import Family, transformation_of
from gdx.studies.transfer.found import LinearCell
from gdx.sweeps import sweep

if TYPE_CHECKING:
    import chex

NUM_STEPS = 1_000
RTOL = 1e-3
"""Widest bracket of the measured edge, relative."""
TOLERANCE = 1e-6
"""Of gradient norms that count as 0."""
REACH = 10.0
"""Factor around the closed form within which the edge is looked for."""
TARGET = 1.0
EXACT = 1e-6
"""How closely an update must be the gradient times the step size to be gradient descent's."""


def linear_network(width: int, scales: LayerScales) -> Problem:
    """Half of (W2 . W1 - 1)^2: a linear network of one input, one output and one example.

    Parameters
    ----------
    width
        Of the hidden layer.
    scales
        Of its two layers.

    Returns
    -------
    Problem
    """
    data = np.ones((1, 1)), np.full(1, TARGET)
    return mlp(data, width=width, depth=1, activation="identity", bias=False, scales=scales)


def predicted_edge(params: Any, scales: LayerScales, target: float = TARGET) -> float:
    """Give the step size up to which gradient descent converges from one start.

    Parameters
    ----------
    params
        Of `linear_network`, as they are trained.
    scales
        Of its layers.
    target
        Above 0.

    Returns
    -------
    float

    Notes
    -----
    With factors c1 and c2, p = sqrt(c2 / c1) W1 and q = sqrt(c1 / c2) W2 are both trained with the step size
    h = c1 c2 eta on (p.q - y)^2 / 2. From almost every start that converges iff h <= 1/y and
    S - h y p.q < 4/h - h y^2, where S = |p|^2 + |q|^2 (Liang & Montufar, arXiv 2509.25351).
    """
    first, second = (float(factor) for factor in scales.weights)
    w1, w2 = (np.asarray(layer["weights"], float).ravel() for layer in params)
    product = first * second
    size = product * float(w1 @ w1 + w2 @ w2)
    # c2/c1 |c1 w1|^2 = c1 c2 |w1|^2, and the same for the other.
    inner = size**2 + 16 * target * (target - product * float(w1 @ w2))
    root = 8 / (size + math.sqrt(inner)) if inner >= 0 else math.inf
    return min(root, 1 / target) / product


def measure_linear(
    widths: Sequence[int],
    parameterisations: Sequence[str],
    optimizer: str,
    base_width: int,
    family: Family,
    keys: chex.PRNGKey,
    progress: Any,
):
    """Measure the edge of every start beside its closed form, a width at a time.

    Parameters
    ----------
    widths, parameterisations, optimizer, base_width, family, keys
        As in `transfer`.
    progress
        `progress(finished, total)`, or False for none.

    Yields
    ------
    list of LinearCell
        Of one width, one a parameterisation.
    """
    for width in widths:
        every = {
            name: layer_scales((1, width, 1), name, optimizer=optimizer, base_width=base_width)
            for name in parameterisations
        }
        run = sweep(
            lambda h, width=width: linear_network(width, h["scales"]),
            lambda h: family(h["step_size"]),
            num_steps=NUM_STEPS,
            num_runs=100 * keys.shape[0],
            workers=1,
            facts=("gradient",),
            # In float32 gradients do not come any closer to 0 than rounding lets them.
            tolerance=max(TOLERANCE, math.sqrt(jnp.finfo(jnp.result_type(float)).eps)),
        )
        found = []
        for name, scales in every.items():
            problem = linear_network(width, scales)
            predicted = np.array([predicted_edge(problem.init(key)[0], scales) for key in keys])
            edge = critical_step_size(
                run=run,
                keys=keys,
                criterion="converged",
                rtol=RTOL,
                bracket=(float(predicted.min()) / REACH, float(predicted.max()) * REACH),
                along=lambda position, scales=scales: {"step_size": position, "scales": scales},
                each_start=True,
                estimate=False,
                progress=progress,
            )
            middles = np.array([math.sqrt(pair.lower * pair.upper) for pair in edge.by_start])
            deviation = float(np.max(np.abs(middles / predicted - 1)))
            found.append(LinearCell(name, width, predicted, edge.by_start, deviation))
        yield found


def is_gradient_descent(family: Family) -> bool:
    """Say whether updates are the gradient times minus the step size, and nothing else.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    bool
    """
    params = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]])}
    updates = updates_of(family, [params, jax.tree.map(lambda leaf: -3 * leaf[::-1], params)], params)
    wanted = [-0.1 * params["w"], 0.3 * params["w"][::-1]]
    return all(np.allclose(a["w"], b, rtol=EXACT, atol=0) for a, b in zip(updates, wanted, strict=True))


def updates_of(family: Family, gradients: Sequence[Any], params: Any, step_size: float = 0.1) -> list[Any]:
    """Feed gradients to an optimizer, at parameters that stay.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.
    gradients
        Pytrees like the parameters.
    params
        Where.
    step_size
        At which.

    Returns
    -------
    list
        Of updates.
    """
    transformation = transformation_of(family, step_size)
    state, found = transformation.init(params), []
    for gradient in gradients:
        value = jnp.zeros(())
        more = {"value": value, "grad": gradient, "value_fn": lambda params: jnp.zeros(())}
        update, state = transformation.update(gradient, state, params, **more)
        found.append(update)
    return found
