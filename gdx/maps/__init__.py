"""Maps over two numbers at once, and how rough the boundaries on them are."""

from gdx.maps.boxes import box_dimension
from gdx.maps.controls import Control, default_controls, ellipse_control, quadratic_control
from gdx.maps.dimension import Dimension
from gdx.maps.entropy import BasinEntropy, basin_entropy
from gdx.maps.lines import change_counts
from gdx.maps.pairs import line_dimension, uncertainty_exponent
from gdx.maps.power_law import PowerLaw, power_law
from gdx.maps.statistics import BoundaryStatistics, Roughness, boundary_statistics

__all__ = [
    "BasinEntropy",
    "BoundaryStatistics",
    "Control",
    "Dimension",
    "PowerLaw",
    "Roughness",
    "basin_entropy",
    "boundary_statistics",
    "box_dimension",
    "change_counts",
    "default_controls",
    "ellipse_control",
    "line_dimension",
    "power_law",
    "quadratic_control",
    "uncertainty_exponent",
]
