"""Published pictures, drawn from what was measured. One file a picture."""

from gdx.plots.reproductions.catapult import catapult
from gdx.plots.reproductions.cosine import cosine_fractal
from gdx.plots.reproductions.critical_step import critical_step
from gdx.plots.reproductions.edge_of_stability import edge_of_stability
from gdx.plots.reproductions.factorization_basin import factorization_basin
from gdx.plots.reproductions.trainability import trainability

__all__ = [
    "catapult",
    "cosine_fractal",
    "critical_step",
    "edge_of_stability",
    "factorization_basin",
    "trainability",
]
