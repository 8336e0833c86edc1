"""Questions that a person asks, each answered by composing the rest.

A study is one file here with two lines in this one. It returns values, draws and saves nothing, and a test holds its
answer to a closed form.

Examples
--------
One to copy, as `basins.py`:

>>> from typing import NamedTuple
>>> import jax, numpy as np, optax, gdx
>>> class Basins(NamedTuple):
...     step_sizes: np.ndarray  # [S]
...     share: np.ndarray  # [S], in [0, 1]
>>> def basins(problem, family, step_sizes, keys, *, num_steps) -> Basins:
...     runs = gdx.sweep(problem, family, num_steps=num_steps)(step_sizes, keys)
...     return Basins(np.asarray(step_sizes), np.asarray(gdx.converged(runs)).mean(axis=1))
>>> keys = jax.random.split(jax.random.key(0), 2)
>>> basins(gdx.problems.quadratic([1.0]), optax.sgd, [0.5, 2.5], keys, num_steps=500).share
array([1., 0.])
"""

from gdx.studies.atlas import ATLAS_PROBLEMS, Atlas, AtlasProblem, atlas
from gdx.studies.autopsy import Autopsy, autopsy
from gdx.studies.batch_sizes import BatchSizeEdges, edges_by_batch_size
from gdx.studies.beyond import beyond
from gdx.studies.bifurcation import Bifurcation, Jump, bifurcation
from gdx.studies.comparison import Comparison, Contestant, Path, compare
from gdx.studies.cosine import CosineChanges, cosine_changes
from gdx.studies.minima import Minima, flattest_minimum, minimum_sharpness
from gdx.studies.predictions import Prediction, Predictions, predict
from gdx.studies.reproductions import (
    catapult,
    cosine_fractal,
    critical_step,
    edge_of_stability,
    factorization_basin,
    trainability,
)
from gdx.studies.resting import Look, Place, curvature_at_rest, places_of_rest
from gdx.studies.scaling import ScalingGain, scaling_gain
from gdx.studies.stability import Stability, stability
from gdx.studies.step_reading import StepRow
from gdx.studies.step_table import InterruptedTable, StepTable, step_table
from gdx.studies.trajectory import Trajectory, trajectory
from gdx.studies.transfer import Transfer, transfer
from gdx.studies.transition import Transition, default_step_sizes, limit_of, transition, verdict_counts
from gdx.studies.verification import Claim, Verification, verify

__all__ = [
    "ATLAS_PROBLEMS",
    "Atlas",
    "AtlasProblem",
    "Autopsy",
    "BatchSizeEdges",
    "Bifurcation",
    "Claim",
    "Comparison",
    "Contestant",
    "CosineChanges",
    "InterruptedTable",
    "Jump",
    "Look",
    "Minima",
    "Path",
    "Place",
    "Prediction",
    "Predictions",
    "ScalingGain",
    "Stability",
    "StepRow",
    "StepTable",
    "Trajectory",
    "Transfer",
    "Transition",
    "Verification",
    "atlas",
    "autopsy",
    "beyond",
    "bifurcation",
    "catapult",
    "compare",
    "cosine_changes",
    "cosine_fractal",
    "critical_step",
    "curvature_at_rest",
    "default_step_sizes",
    "edge_of_stability",
    "edges_by_batch_size",
    "factorization_basin",
    "flattest_minimum",
    "limit_of",
    "minimum_sharpness",
    "places_of_rest",
    "predict",
    "scaling_gain",
    "stability",
    "step_table",
    "trainability",
    "trajectory",
    "transfer",
    "transition",
    "verdict_counts",
    "verify",
]
