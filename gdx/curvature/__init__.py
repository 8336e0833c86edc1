"""Curvature of a loss, and how much of it an optimizer tolerates."""

from gdx.curvature.eigenpairs import Eigenpairs, EigenStatus, Sharpness, sharpness, top_eigenpairs
from gdx.curvature.margin import EdgeMarginState, edge_margin
from gdx.curvature.one_step import OneStepEdge, OneStepStatus, one_step_edge
from gdx.curvature.preconditioners import preconditioner
from gdx.curvature.products import hvp
from gdx.curvature.responses import Response, impulse_response, measure_response
from gdx.curvature.thresholds import critical_step, curvature_threshold, step_at, threshold_of

__all__ = [
    "EdgeMarginState",
    "EigenStatus",
    "Eigenpairs",
    "OneStepEdge",
    "OneStepStatus",
    "Response",
    "Sharpness",
    "critical_step",
    "curvature_threshold",
    "edge_margin",
    "hvp",
    "impulse_response",
    "measure_response",
    "one_step_edge",
    "preconditioner",
    "sharpness",
    "step_at",
    "threshold_of",
    "top_eigenpairs",
]
