"""Negative controls: losses without a critical step size, on which none may be found."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges import EdgeStatus, critical_step_size
from gdx.problems import logistic_regression, problem
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import descend
from gdx.sweeps import sweep
from gdx.verdicts import Answer, answers

HORIZON = 2000
REACH = (1e-2, 100.0)
"""Step sizes tried. The phase in which losses oscillate is as long as the step size is large, and must end before the
horizon."""
STEP_SIZES = 33
EXAMPLES = 30
DIMENSION = 3
MARGIN = 0.5
SLOTS = 64
"""Runs side by side; few, so that none of them is computed for nothing."""


def scale_invariant(h: Any) -> Any:
    """1 - w1 / |w|."""
    del h
    return problem(lambda key: jax.random.normal(key, (DIMENSION,)), lambda w: 1 - w[0] / jnp.linalg.norm(w))


@functools.cache
def _sweep():
    return sweep(scale_invariant, descend, num_steps=HORIZON, slots=SLOTS)


def measure_scale_invariant(points: Any) -> list[float]:
    """Count runs that fail, over step sizes from one end to the other and two starts."""
    step_sizes = np.geomspace(*REACH, STEP_SIZES)
    found = []
    for seed in points["seed"]:
        runs = _sweep()({"step_size": step_sizes}, jax.random.split(jax.random.key(int(seed)), 2))
        found.append(float(np.sum(np.asarray(answers(runs, "stable")) == Answer.FAILED)))
    return found


def measure_separable(points: Any) -> list[float]:
    """Add up what must be 0 of a search for the edge: a first failure, and a status other than success throughout."""
    found = []
    for features, labels in zip(points["features"], points["labels"], strict=True):
        edge = critical_step_size(
            logistic_regression(features, labels, l2=0.0, scale=None),
            optax.sgd,
            keys=jax.random.split(jax.random.key(0), 2),
            num_steps=HORIZON,
            criterion="stable",
            bracket=REACH,
            estimate=False,
        )
        found.append(float(np.isfinite(edge.first_failure.upper)) + float(edge.status is not EdgeStatus.ALL_MEET))
    return found


def _draw_separable(rng):
    labels = np.arange(EXAMPLES) % 2
    normal = rng.normal(size=DIMENSION)
    normal /= np.linalg.norm(normal)
    features = rng.normal(size=(EXAMPLES, DIMENSION))
    # Each example is moved along the normal until it stands on its side, half a unit or more away from the plane.
    along = (MARGIN + rng.exponential(size=EXAMPLES)) * np.where(labels == 1, 1, -1)
    features += (along - features @ normal)[:, None] * normal
    return {"features": features, "labels": labels}


def checks() -> list[Check]:
    """All negative controls.

    Returns
    -------
    list
    """
    reach = f"from {REACH[0]:g} to {REACH[1]:g}"
    return [
        Check(
            "control-separable",
            "control",
            f"logistic regression, random separable data: no step size {reach} is critical",
            "Wu et al., arXiv 2402.15926",
            _draw_separable,
            lambda p: 0.0,
            measure_separable,
            0.0,
            2,
            absolute=True,
        ),
        Check(
            "control-scale-invariant",
            "control",
            f"1 - w1 / |w|, starts {{seed}}: no step size {reach} fails",
            "Arora, Li & Lyu, arXiv 1812.03981",
            lambda rng: {"seed": int(rng.integers(1_000_000))},
            lambda p: 0.0,
            measure_scale_invariant,
            0.0,
            2,
            fast=1,
            absolute=True,
        ),
    ]
