"""Optimizers: what optax lacks, and all of optax's by name.

Floating hyperparameters of gdx's own may be traced, and so be swept. A concrete value out of range is refused; a traced
one has no value yet and cannot be checked.
"""

from gdx.optimizers.adadelta import scale_by_textbook_adadelta, textbook_adadelta
from gdx.optimizers.adagrad import scale_by_textbook_adagrad, textbook_adagrad
from gdx.optimizers.adapters import backtracking, sophia, strong_wolfe
from gdx.optimizers.catalog import Hyperparameter, OptimizerEntry, catalogue, family, left_out
from gdx.optimizers.coordinates import (
    block_coordinate_descent,
    coordinate_descent,
    scale_by_block,
    scale_by_coordinate,
)
from gdx.optimizers.ema import ema_momentum
from gdx.optimizers.line_search.bracketing import LineSearchState
from gdx.optimizers.line_search.exact import scale_by_exact_search, steepest_descent
from gdx.optimizers.line_search.goldstein import goldstein, scale_by_goldstein
from gdx.optimizers.line_search.wolfe import scale_by_wolfe, wolfe
from gdx.optimizers.lookahead import nesterov_lookahead, scale_by_nesterov_lookahead
from gdx.optimizers.newton_dense import damped_newton, newton, scale_by_newton
from gdx.optimizers.newton_krylov import newton_cg, scale_by_newton_cg
from gdx.optimizers.rmsprop import textbook_rmsprop

__all__ = [
    "Hyperparameter",
    "LineSearchState",
    "OptimizerEntry",
    "backtracking",
    "block_coordinate_descent",
    "catalogue",
    "coordinate_descent",
    "damped_newton",
    "ema_momentum",
    "family",
    "goldstein",
    "left_out",
    "nesterov_lookahead",
    "newton",
    "newton_cg",
    "scale_by_block",
    "scale_by_coordinate",
    "scale_by_exact_search",
    "scale_by_goldstein",
    "scale_by_nesterov_lookahead",
    "scale_by_newton",
    "scale_by_newton_cg",
    "scale_by_textbook_adadelta",
    "scale_by_textbook_adagrad",
    "scale_by_wolfe",
    "sophia",
    "steepest_descent",
    "strong_wolfe",
    "textbook_adadelta",
    "textbook_adagrad",
    "textbook_rmsprop",
    "wolfe",
]
