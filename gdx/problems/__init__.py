"""What is minimised: constructors of `Problem`, one file a kind."""

from gdx.problems import landscapes
from gdx.problems.base import Epochs, Known, Problem, problem, stateful_problem
from gdx.problems.batching import finite_sum, minibatches, with_keys
from gdx.problems.catalog import ProblemEntry, catalogue
from gdx.problems.factorizations import chain, linear_network, scalar_factorization
from gdx.problems.frameworks import from_equinox, from_flax, from_haiku, from_nnx
from gdx.problems.landscapes import *  # noqa: F403  (it says itself which landscapes are public)
from gdx.problems.landscapes import landscape_catalogue
from gdx.problems.loading import epochs_of, from_batches
from gdx.problems.networks import digits_mlp
from gdx.problems.quadratics import quadratic
from gdx.problems.regression import least_squares, logistic_regression
from gdx.problems.scaling import Scaling, ScalingState, min_max, robust, standardise
from gdx.problems.surfaces import Landscape
from gdx.problems.transformers import character_transformer
from gdx.problems.wells import hard_partner, quartic

__all__ = [
    "Epochs",
    "Known",
    "Landscape",
    "Problem",
    "ProblemEntry",
    "Scaling",
    "ScalingState",
    "catalogue",
    "chain",
    "character_transformer",
    "digits_mlp",
    "epochs_of",
    "finite_sum",
    "from_batches",
    "from_equinox",
    "from_flax",
    "from_haiku",
    "from_nnx",
    "hard_partner",
    "landscape_catalogue",
    "least_squares",
    "linear_network",
    "logistic_regression",
    "min_max",
    "minibatches",
    "problem",
    "quadratic",
    "quartic",
    "robust",
    "scalar_factorization",
    "standardise",
    "stateful_problem",
    "with_keys",
]
__all__ += landscapes.__all__
