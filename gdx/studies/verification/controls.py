"""Negative controls: losses without a critical step size, on which none may be found."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges import EdgeStatus, critical_step_size
from gdx.problems import logistic_regression, problem
from gdx.studies.verification.base import Check

HORIZON = 4000
REACH = (1e-2, 300.0)
"""Step sizes searched. The phase in which losses oscillate is as long as the step size is large, and must end before
the horizon."""
EXAMPLES = 30
DIMENSION = 3
MARGIN = 0.5


def _failures(made):
    """Add up what must be 0: a first failure, and a status other than success throughout."""
    edge = critical_step_size(
        made,
        optax.sgd,
        keys=jax.random.split(jax.random.key(0), 2),
        num_steps=HORIZON,
        criterion="stable",
        bracket=REACH,
        estimate=False,
    )
    return float(np.isfinite(edge.first_failure.upper)) + float(edge.status is not EdgeStatus.ALL_MEET)


def measure_separable(points: Any) -> list[float]:
    """Of gradient descent on a random separable data set."""
    return [
        _failures(logistic_regression(features, labels, l2=0.0, scale=None))
        for features, labels in zip(points["features"], points["labels"], strict=True)
    ]


def measure_scale_invariant(points: Any) -> list[float]:
    """Of gradient descent on 1 - w1 / |w|, from a random start."""
    return [
        _failures(problem(jnp.asarray(start), lambda w: 1 - w[0] / jnp.linalg.norm(w))) for start in points["start"]
    ]


def _draw_separable(rng):
    labels = np.arange(EXAMPLES) % 2
    normal = rng.normal(size=DIMENSION)
    normal /= np.linalg.norm(normal)
    features = rng.normal(size=(EXAMPLES, DIMENSION))
    # Each example is moved along the normal until it stands on its side, half a unit or more away from the plane.
    along = (MARGIN + rng.exponential(size=EXAMPLES)) * np.where(labels == 1, 1, -1)
    features += (along - features @ normal)[:, None] * normal
    return {"features": features, "labels": labels}


def _draw_start(rng):
    return {"start": rng.normal(size=DIMENSION)}


def checks() -> list[Check]:
    """All negative controls.

    Returns
    -------
    list
    """
    none = f"has no critical step size: none from {REACH[0]:g} to {REACH[1]:g} fails"
    return [
        Check(
            "control-separable",
            "control",
            f"logistic regression on random separable data {none}",
            "Wu et al., arXiv 2402.15926",
            _draw_separable,
            lambda p: 0.0,
            measure_separable,
            0.0,
            1,
            fast=1,
            absolute=True,
        ),
        Check(
            "control-scale-invariant",
            "control",
            f"1 - w1 / |w| {none}",
            "Arora, Li & Lyu, arXiv 1812.03981",
            _draw_start,
            lambda p: 0.0,
            measure_scale_invariant,
            0.0,
            1,
            absolute=True,
        ),
    ]
