"""Curvature of a loss, and how much of it an optimizer tolerates."""

from gdx.curvature.eigenpairs import Eigenpairs, EigenStatus, Sharpness, sharpness, top_eigenpairs
from gdx.curvature.one_step import OneStepEdge, OneStepStatus, one_step_edge
from gdx.curvature.products import hvp
from gdx.curvature.thresholds import curvature_threshold, impulse_response

__all__ = [
    "EigenStatus",
    "Eigenpairs",
    "OneStepEdge",
    "OneStepStatus",
    "Sharpness",
    "curvature_threshold",
    "hvp",
    "impulse_response",
    "one_step_edge",
    "sharpness",
    "top_eigenpairs",
]
