"""gdx maps where training stops converging: critical step sizes of any JAX loss under any optax optimizer.

Examples
--------
>>> import functools
>>> import jax, jax.numpy as jnp, numpy as np, optax, gdx
>>> jax.config.update("jax_enable_x64", True)  # edges to more than six digits want float64
>>> problem = gdx.problems.quadratic([1.0, 3.0, 10.0])
>>> family = functools.partial(optax.sgd, momentum=0.9)  # step_size -> optax transformation
>>> run = gdx.sweep(problem, family, num_steps=1_000)  # compiled on its first call
>>> keys = jax.random.split(jax.random.key(0), 2)
>>> step_sizes = [0.1, 0.37, 0.39, 1.0]
>>> runs = run(step_sizes, keys)  # facts about every run, leaves [4, 2]
>>> gdx.converged(runs)
array([[ True,  True],
       [ True,  True],
       [False, False],
       [False, False]])
>>> edge = gdx.critical_step_size(run=run, keys=keys)  # refined, and without the shift of a finite horizon
>>> round(edge.estimate.value, 6)
0.38
>>> round(gdx.curvature_threshold(family) / problem.known.min_sharpness, 6)  # theory
0.38
"""

from gdx import curvature, observers, optimizers, plots, problems, responses, schedules, storage, studies
from gdx.curvature import (
    Eigenpairs,
    EigenStatus,
    OneStepEdge,
    OneStepStatus,
    Sharpness,
    hvp,
    one_step_edge,
    sharpness,
    top_eigenpairs,
)
from gdx.edges import Bracket, Edge, EdgeStatus, Estimate, EstimateKind, critical_step_size, edge_of_start
from gdx.margin import EdgeMarginState, edge_margin
from gdx.observers import Observer
from gdx.problems import Known, Problem, problem, stateful_problem
from gdx.responses import critical_step, curvature_threshold, preconditioner
from gdx.stepping import TrainState, TrainStep, View, train_step
from gdx.studies import (
    Autopsy,
    Stability,
    StepTable,
    Trajectory,
    Verification,
    autopsy,
    stability,
    step_table,
    trajectory,
    verify,
)
from gdx.sweeps import Interrupted, Runs, Stop, Stopping, Sweep, sweep
from gdx.verdicts import (
    Answer,
    TrainingVerdict,
    Verdict,
    answers,
    bounded,
    converged,
    improved,
    stable,
    training_verdicts,
    trains,
    verdicts,
)

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Autopsy",
    "Bracket",
    "Edge",
    "EdgeMarginState",
    "EdgeStatus",
    "EigenStatus",
    "Eigenpairs",
    "Estimate",
    "EstimateKind",
    "Interrupted",
    "Known",
    "Observer",
    "OneStepEdge",
    "OneStepStatus",
    "Problem",
    "Runs",
    "Sharpness",
    "Stability",
    "StepTable",
    "Stop",
    "Stopping",
    "Sweep",
    "TrainState",
    "TrainStep",
    "TrainingVerdict",
    "Trajectory",
    "Verdict",
    "Verification",
    "View",
    "answers",
    "autopsy",
    "bounded",
    "converged",
    "critical_step",
    "critical_step_size",
    "curvature",
    "curvature_threshold",
    "edge_margin",
    "edge_of_start",
    "hvp",
    "improved",
    "observers",
    "one_step_edge",
    "optimizers",
    "plots",
    "preconditioner",
    "problem",
    "problems",
    "responses",
    "schedules",
    "sharpness",
    "stability",
    "stable",
    "stateful_problem",
    "step_table",
    "storage",
    "studies",
    "sweep",
    "top_eigenpairs",
    "train_step",
    "training_verdicts",
    "trains",
    "trajectory",
    "verdicts",
    "verify",
]
