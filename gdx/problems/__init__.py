"""What is minimised: constructors of `Problem`, one file a kind."""

from gdx.problems.base import Epochs, Known, Problem, problem, stateful_problem
from gdx.problems.batching import finite_sum, minibatches
from gdx.problems.catalog import ProblemEntry, catalogue
from gdx.problems.factorizations import chain, linear_network, scalar_factorization
from gdx.problems.landscape_rows import Landscape, landscape_catalogue
from gdx.problems.landscapes import (
    beale,
    booth,
    double_well,
    himmelblau,
    monkey_saddle,
    plateau,
    ravine,
    rippled_bowl,
    rosenbrock,
    saddle,
)
from gdx.problems.networks import digits_mlp
from gdx.problems.quadratics import quadratic
from gdx.problems.regression import least_squares, logistic_regression
from gdx.problems.scaling import Scaling, ScalingState, min_max, robust, standardise
from gdx.problems.wells import hard_partner, quartic

__all__ = [
    "Epochs",
    "Known",
    "Landscape",
    "Problem",
    "ProblemEntry",
    "Scaling",
    "ScalingState",
    "beale",
    "booth",
    "catalogue",
    "chain",
    "digits_mlp",
    "double_well",
    "finite_sum",
    "hard_partner",
    "himmelblau",
    "landscape_catalogue",
    "least_squares",
    "linear_network",
    "logistic_regression",
    "min_max",
    "minibatches",
    "monkey_saddle",
    "plateau",
    "problem",
    "quadratic",
    "quartic",
    "ravine",
    "rippled_bowl",
    "robust",
    "rosenbrock",
    "saddle",
    "scalar_factorization",
    "standardise",
    "stateful_problem",
]
