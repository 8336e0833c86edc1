"""Published pictures, measured again. One file a picture.

Each is a study that returns a value with its `claims`: published figures beside measured ones, and whether they hold.
`gdx reproduce NAME` runs it, draws it with the function of the same name in `gdx.plots` and ends with the claims. To
add one: its file here, a function in `gdx/plots/reproductions/`, and a row in `gdx/cli/reproductions.py`.
"""

from gdx.studies.reproductions.base import Share, held
from gdx.studies.reproductions.catapult import Catapult, CatapultNetwork, catapult
from gdx.studies.reproductions.cosine import CosineFractal, cosine_fractal
from gdx.studies.reproductions.critical_networks import Control, DigitsPanel, LinearPanel
from gdx.studies.reproductions.critical_step import CriticalStep, critical_step
from gdx.studies.reproductions.edge_of_stability import EdgeOfStability, EdgePanel, edge_of_stability
from gdx.studies.reproductions.factorization_basin import Basin, FactorizationBasin, factorization_basin
from gdx.studies.reproductions.trainability import Trainability, TrainabilityMap, trainability

__all__ = [
    "Basin",
    "Catapult",
    "CatapultNetwork",
    "Control",
    "CosineFractal",
    "CriticalStep",
    "DigitsPanel",
    "EdgeOfStability",
    "EdgePanel",
    "FactorizationBasin",
    "LinearPanel",
    "Share",
    "Trainability",
    "TrainabilityMap",
    "catapult",
    "cosine_fractal",
    "critical_step",
    "edge_of_stability",
    "factorization_basin",
    "held",
    "trainability",
]
