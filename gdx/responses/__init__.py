"""Optimizers seen from outside: what they answer to a gradient, and how much curvature that stands."""

from gdx.responses.preconditioners import preconditioner
from gdx.responses.response import Response, impulse_response, measure_response
from gdx.responses.thresholds import alternates, critical_step, curvature_threshold, step_at, threshold_of

__all__ = [
    "Response",
    "alternates",
    "critical_step",
    "curvature_threshold",
    "impulse_response",
    "measure_response",
    "preconditioner",
    "step_at",
    "threshold_of",
]
