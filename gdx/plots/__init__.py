"""Pictures: values go in, Axes come out."""

from gdx.plots.animation import animate
from gdx.plots.atlas import atlas
from gdx.plots.bifurcation import bifurcation
from gdx.plots.boundary import boundary
from gdx.plots.cosine import cosine_changes
from gdx.plots.paths import headline, trajectories
from gdx.plots.phase_map import phase_map
from gdx.plots.reproductions import (
    catapult,
    cosine_fractal,
    critical_step,
    edge_of_stability,
    factorization_basin,
    trainability,
)
from gdx.plots.stability import stability
from gdx.plots.transfer import transfer
from gdx.plots.transition import transition

__all__ = [
    "animate",
    "atlas",
    "bifurcation",
    "boundary",
    "catapult",
    "cosine_changes",
    "cosine_fractal",
    "critical_step",
    "edge_of_stability",
    "factorization_basin",
    "headline",
    "phase_map",
    "stability",
    "trainability",
    "trajectories",
    "transfer",
    "transition",
]
