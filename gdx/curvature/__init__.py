"""Curvature of a loss, and how much of it an optimizer tolerates."""

from gdx.curvature.lanczos import Sharpness, hvp, sharpness
from gdx.curvature.thresholds import curvature_threshold, impulse_response

__all__ = ["Sharpness", "curvature_threshold", "hvp", "impulse_response", "sharpness"]
