"""Curvature of a loss, from products with its Hessian alone."""

from gdx.curvature.eigenpairs import Eigenpairs, EigenStatus, Sharpness, sharpness, top_eigenpairs
from gdx.curvature.one_step import OneStepEdge, OneStepStatus, one_step_edge
from gdx.curvature.products import hvp

__all__ = [
    "EigenStatus",
    "Eigenpairs",
    "OneStepEdge",
    "OneStepStatus",
    "Sharpness",
    "hvp",
    "one_step_edge",
    "sharpness",
    "top_eigenpairs",
]
