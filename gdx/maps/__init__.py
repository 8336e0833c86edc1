"""Maps over two numbers at once, and how rough the boundaries on them are."""

from gdx.maps.boundary import Dimension, box_dimension, uncertainty_exponent
from gdx.maps.entropy import BasinEntropy, basin_entropy
from gdx.maps.power_law import PowerLaw, power_law

__all__ = [
    "BasinEntropy",
    "Dimension",
    "PowerLaw",
    "basin_entropy",
    "box_dimension",
    "power_law",
    "uncertainty_exponent",
]
