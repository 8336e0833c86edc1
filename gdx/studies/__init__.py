"""Questions that a person asks, each answered by composing the rest."""

from gdx.studies.atlas import ATLAS_PROBLEMS, Atlas, AtlasProblem, atlas
from gdx.studies.autopsy import Autopsy, autopsy
from gdx.studies.batch_sizes import BatchSizeEdges, edges_by_batch_size
from gdx.studies.comparison import Comparison, Contestant, Path, compare
from gdx.studies.predictions import Prediction, Predictions, minimum_sharpness, predict
from gdx.studies.resting import Look, Place, curvature_at_rest, places_of_rest
from gdx.studies.scaling import ScalingGain, scaling_gain
from gdx.studies.stability import Stability, stability
from gdx.studies.step_reading import StepRow
from gdx.studies.step_table import InterruptedTable, StepTable, step_table
from gdx.studies.trajectory import Trajectory, trajectory
from gdx.studies.transition import Transition, default_step_sizes, limit_of, transition, verdict_counts
from gdx.studies.verification import Claim, Verification, verify

__all__ = [
    "ATLAS_PROBLEMS",
    "Atlas",
    "AtlasProblem",
    "Autopsy",
    "BatchSizeEdges",
    "Claim",
    "Comparison",
    "Contestant",
    "InterruptedTable",
    "Look",
    "Path",
    "Place",
    "Prediction",
    "Predictions",
    "ScalingGain",
    "Stability",
    "StepRow",
    "StepTable",
    "Trajectory",
    "Transition",
    "Verification",
    "atlas",
    "autopsy",
    "compare",
    "curvature_at_rest",
    "default_step_sizes",
    "edges_by_batch_size",
    "limit_of",
    "minimum_sharpness",
    "places_of_rest",
    "predict",
    "scaling_gain",
    "stability",
    "step_table",
    "trajectory",
    "transition",
    "verdict_counts",
    "verify",
]
