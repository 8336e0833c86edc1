"""Maps over two hyperparameters: boundaries are computed, the rest is filled in and audited.

`gdx.phase_map` runs cells where answers change and proves how little of what it fills in is wrong. `refine` does the
same for any function of cells. `boundary_statistics` says how rough a boundary is, by two roads and beside two smooth
controls; `attractors` numbers where runs end.
"""

from gdx.maps.arriving import arrival
from gdx.maps.attractors import attractors
from gdx.maps.auditing import Audit
from gdx.maps.axes import Axis, Line
from gdx.maps.boundaries.boxes import box_dimension
from gdx.maps.boundaries.controls import Control, default_controls, ellipse_control, quadratic_control
from gdx.maps.boundaries.dimension import Dimension
from gdx.maps.boundaries.entropy import BasinEntropy, basin_entropy
from gdx.maps.boundaries.lines import change_counts
from gdx.maps.boundaries.pairs import line_dimension, uncertainty_exponent
from gdx.maps.boundaries.power_law import PowerLaw, power_law
from gdx.maps.boundaries.statistics import BoundaryStatistics, Roughness, boundary_statistics
from gdx.maps.following import EdgeCurve, edge_curve
from gdx.maps.found import PhaseMap
from gdx.maps.mapping import phase_map
from gdx.maps.refining import Refined, refine
from gdx.maps.starting import start_axes, starting

__all__ = [
    "Audit",
    "Axis",
    "BasinEntropy",
    "BoundaryStatistics",
    "Control",
    "Dimension",
    "EdgeCurve",
    "Line",
    "PhaseMap",
    "PowerLaw",
    "Refined",
    "Roughness",
    "arrival",
    "attractors",
    "basin_entropy",
    "boundary_statistics",
    "box_dimension",
    "change_counts",
    "default_controls",
    "edge_curve",
    "ellipse_control",
    "line_dimension",
    "phase_map",
    "power_law",
    "quadratic_control",
    "refine",
    "start_axes",
    "starting",
    "uncertainty_exponent",
]
