"""One training step of one run, and what it is made of."""

from gdx.stepping.ordering import batch_of
from gdx.stepping.resolving import Family, resolve_problem, told_by, transformation_of
from gdx.stepping.state import Orders, TrainState, View
from gdx.stepping.training import TrainStep, evaluation, frozen_params, gradient_norm, search_failed, train_step

__all__ = [
    "Family",
    "Orders",
    "TrainState",
    "TrainStep",
    "View",
    "batch_of",
    "evaluation",
    "frozen_params",
    "gradient_norm",
    "resolve_problem",
    "search_failed",
    "told_by",
    "train_step",
    "transformation_of",
]
