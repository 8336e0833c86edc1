"""Published pictures, drawn from what was measured. One file a picture."""

from gdx.plots.reproductions.catapult import catapult
from gdx.plots.reproductions.critical_step import critical_step
from gdx.plots.reproductions.edge_of_stability import edge_of_stability

__all__ = ["catapult", "critical_step", "edge_of_stability"]
