"""Pictures: values go in, Axes come out."""

from gdx.plots.animation import animate
from gdx.plots.atlas import atlas
from gdx.plots.bifurcation import bifurcation
from gdx.plots.paths import headline, trajectories
from gdx.plots.stability import stability
from gdx.plots.transfer import transfer
from gdx.plots.transition import transition

__all__ = ["animate", "atlas", "bifurcation", "headline", "stability", "trajectories", "transfer", "transition"]
