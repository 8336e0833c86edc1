"""gdx maps where training stops converging: critical step sizes of any JAX loss under any optax optimizer."""

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
from gdx.studies import Stability, StepTable, Trajectory, Verification, stability, step_table, trajectory, verify
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
