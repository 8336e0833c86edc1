"""gdx maps where training stops converging: critical step sizes of any JAX loss under any optax optimizer."""

from gdx import curvature, observers, optimizers, plots, problems, schedules, storage, studies
from gdx.curvature import (
    EdgeMarginState,
    Eigenpairs,
    EigenStatus,
    OneStepEdge,
    OneStepStatus,
    Sharpness,
    critical_step,
    curvature_threshold,
    edge_margin,
    hvp,
    one_step_edge,
    preconditioner,
    sharpness,
    top_eigenpairs,
)
from gdx.edges import Bracket, Edge, EdgeStatus, Estimate, EstimateKind, critical_step_size
from gdx.observers import Observer
from gdx.problems import Known, Problem, problem, stateful_problem
from gdx.stepping import TrainState, TrainStep, View, train_step
from gdx.studies import StepTable, Trajectory, Verification, step_table, trajectory, verify
from gdx.sweeps import Interrupted, Runs, Stop, Stopping, Sweep, sweep
from gdx.verdicts import Answer, Verdict, answers, bounded, converged, improved, stable, verdicts

__version__ = "0.1.0"

__all__ = [
    "Answer",
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
    "StepTable",
    "Stop",
    "Stopping",
    "Sweep",
    "TrainState",
    "TrainStep",
    "Trajectory",
    "Verdict",
    "Verification",
    "View",
    "answers",
    "bounded",
    "converged",
    "critical_step",
    "critical_step_size",
    "curvature",
    "curvature_threshold",
    "edge_margin",
    "hvp",
    "improved",
    "observers",
    "one_step_edge",
    "optimizers",
    "plots",
    "preconditioner",
    "problem",
    "problems",
    "schedules",
    "sharpness",
    "stable",
    "stateful_problem",
    "step_table",
    "storage",
    "studies",
    "sweep",
    "top_eigenpairs",
    "train_step",
    "trajectory",
    "verdicts",
    "verify",
]
