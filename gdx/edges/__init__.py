"""Where along the step-size axis the verdict changes: every crossing, refined, and what an endless run would see."""

from gdx.edges.edge import Bracket, Edge, EdgeStatus
from gdx.edges.endless.estimates import Estimate, EstimateKind
from gdx.edges.reading import edge_of_start
from gdx.edges.scanning import critical_step_size
from gdx.edges.starting import WIDE_SCAN

__all__ = [
    "WIDE_SCAN",
    "Bracket",
    "Edge",
    "EdgeStatus",
    "Estimate",
    "EstimateKind",
    "critical_step_size",
    "edge_of_start",
]
