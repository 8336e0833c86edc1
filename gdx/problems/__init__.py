"""What is minimised: constructors of `Problem`, one file a kind."""

from gdx.problems.base import Known, Problem, problem, stateful_problem
from gdx.problems.catalog import ProblemEntry, catalogue
from gdx.problems.factorizations import linear_network, scalar_factorization
from gdx.problems.landscapes import hard_partner, quartic
from gdx.problems.networks import digits_mlp
from gdx.problems.quadratics import quadratic
from gdx.problems.regression import least_squares, logistic_regression

__all__ = [
    "Known",
    "Problem",
    "ProblemEntry",
    "catalogue",
    "digits_mlp",
    "hard_partner",
    "least_squares",
    "linear_network",
    "logistic_regression",
    "problem",
    "quadratic",
    "quartic",
    "scalar_factorization",
    "stateful_problem",
]
