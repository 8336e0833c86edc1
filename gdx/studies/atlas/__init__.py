"""Every optimizer of the catalogue on a few problems: where it breaks, how well it does, how forgiving it is."""

from gdx.studies.atlas.found import Atlas, Cell, Row
from gdx.studies.atlas.problems import ATLAS_PROBLEMS, AtlasProblem
from gdx.studies.atlas.study import atlas

__all__ = ["ATLAS_PROBLEMS", "Atlas", "AtlasProblem", "Cell", "Row", "atlas"]
