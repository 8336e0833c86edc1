"""Every optimizer by name, a row each, and what of optax is left out, with the reason.

To add one of gdx's own, write its file, import it here, name what is public of it in `__all__` and give it a row:
exports, listing, command line and tests follow. The README's section "Join" has a template.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import optax
from optax import contrib

from gdx.optimizers.adadelta import scale_by_textbook_adadelta, textbook_adadelta
from gdx.optimizers.adagrad import scale_by_textbook_adagrad, textbook_adagrad
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
from gdx.optimizers.optax_methods import backtracking, lbfgs, sophia, strong_wolfe
from gdx.optimizers.rmsprop import textbook_rmsprop

# What `gdx.optimizers` exports of gdx's own.
__all__ = [
    "LineSearchState",
    "backtracking",
    "block_coordinate_descent",
    "coordinate_descent",
    "damped_newton",
    "ema_momentum",
    "goldstein",
    "lbfgs",
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


class Range(NamedTuple):
    """The values that a number may have."""

    low: float
    high: float
    """Never reached."""
    includes_low: bool = False


WEIGHT = Range(0.0, 1.0, True)
"""Of the past against the present."""
SHARE = Range(0.0, 1.0)
AT_LEAST_0 = Range(0.0, math.inf, True)
ABOVE_0 = Range(0.0, math.inf)
"""Of what is divided by."""
AT_LEAST_1 = Range(1.0, math.inf, True)
ANY = Range(-math.inf, math.inf)
USUAL_RANGES = {
    **dict.fromkeys(("momentum", "decay", "decay_rate", "b1", "b2", "b3", "beta", "beta3", "rho"), WEIGHT),
    **dict.fromkeys(("adam_b1", "adam_b2"), WEIGHT),
    **dict.fromkeys(("slope_rtol", "curv_rtol", "c1", "c2", "decrease_factor", "eta_minus"), SHARE),
    **dict.fromkeys(("clip_threshold", "consistent_rms"), AT_LEAST_0),
    **dict.fromkeys(("clipping_threshold", "estim_lr0"), ABOVE_0),
    **dict.fromkeys(("f_min", "lower_bound", "alpha"), ANY),
}
"""Of numbers by name, where a row says nothing else; those may be off, None, by default. Any other whole number above 0
is at least 1, and any other number at least 0."""


class Row(NamedTuple):
    """A named optimizer, in the table of its group."""

    name: str
    make: Callable[..., optax.GradientTransformation]
    """Takes the step size first, hyperparameters by keyword."""
    has_threshold: bool
    """Whether `gdx.curvature_threshold` has a number for it at its defaults."""
    line: str
    """What it is for."""
    source: str
    ranges: Mapping[str, Range] = {}
    """Of numbers for which `USUAL_RANGES` has none or a wrong one."""


_with = functools.partial
_heavy_ball = _with(optax.sgd, momentum=0.9)
_nesterov = _with(optax.sgd, momentum=0.9, nesterov=True)

GRADIENT = [
    Row("sgd", optax.sgd, True, "gradient descent; heavy ball or Nesterov with momentum", "Cauchy 1847"),
    Row("momentum", _heavy_ball, True, "heavy ball, momentum 0.9", "Polyak 1964"),
    Row("ema-momentum", ema_momentum, True, "a running mean of gradients, s = b s + (1-b) g", "optax.ema"),
    Row(
        "ema-momentum-debiased",
        _with(ema_momentum, debias=True),
        True,
        "the same, corrected for its start at 0",
        "optax.ema",
    ),
    Row(
        "nesterov",
        _nesterov,
        True,
        "Nesterov's momentum, 0.9, as optax writes it",
        "Nesterov 1983; Sutskever et al. 2013",
    ),
    Row("nag", _nesterov, True, "another name of nesterov", "Nesterov 1983; Sutskever et al. 2013"),
    Row("nesterov-lookahead", nesterov_lookahead, False, "the gradient taken where momentum leads", "Nesterov 1983"),
    Row(
        "optimistic-gradient",
        optax.optimistic_gradient_descent,
        True,
        "adds the last change; games",
        "arXiv 1711.00141",
        {"beta": AT_LEAST_0},
    ),
    Row(
        "noisy-sgd", _with(optax.noisy_sgd, key=0), False, "gradient descent with noise that fades", "arXiv 1511.06807"
    ),
    Row("polyak-sgd", optax.polyak_sgd, False, "Polyak's step, at most the step size", "Polyak 1987; arXiv 2002.10542"),
    Row(
        "schedule-free-sgd",
        contrib.schedule_free_sgd,
        False,
        "averages iterates in place of a schedule",
        "arXiv 2405.15682",
    ),
    Row("momo", contrib.momo, False, "momentum with a model-based step, at most the step size", "arXiv 2305.07583"),
]
ADAPTIVE = [
    Row("adam", optax.adam, True, "running first and second moments, bias corrected", "arXiv 1412.6980"),
    Row("adamw", optax.adamw, False, "Adam with decoupled weight decay", "arXiv 1711.05101"),
    Row("nadam", optax.nadam, True, "Adam with Nesterov's look-ahead", "Dozat 2016"),
    Row("nadamw", optax.nadamw, False, "NAdam with decoupled weight decay", "Dozat 2016; arXiv 1711.05101"),
    Row("amsgrad", optax.amsgrad, True, "Adam whose second moment never falls", "arXiv 1904.09237"),
    Row("adamax", optax.adamax, True, "Adam with the infinity norm for second moment", "arXiv 1412.6980"),
    Row("adamaxw", optax.adamaxw, False, "AdaMax with decoupled weight decay", "arXiv 1412.6980"),
    Row("adabelief", optax.adabelief, True, "Adam that divides by the gradient's surprise", "arXiv 2010.07468"),
    Row(
        "radam",
        optax.radam,
        True,
        "Adam with a rectified start",
        "arXiv 1908.03265",
        # Below, the root of the rectification is one of a negative number.
        {"threshold": Range(4.0, math.inf, True)},
    ),
    Row("yogi", optax.yogi, True, "Adam whose second moment moves by a fixed share", "Zaheer et al. 2018"),
    Row("adan", optax.adan, True, "Adam with the gradient's differences as well", "arXiv 2208.06677"),
    Row("adopt", contrib.adopt, True, "Adam that divides by the moment of the step before", "arXiv 2411.02853"),
    Row("acprop", contrib.acprop, True, "AdaBelief that divides by the moment of the step before", "arXiv 2110.05454"),
    Row("ademamix", contrib.ademamix, False, "Adam with a second, much longer momentum", "arXiv 2409.03137"),
    Row("simplified-ademamix", contrib.simplified_ademamix, True, "AdEMAMix with one momentum", "arXiv 2502.02431"),
    Row(
        "optimistic-adam",
        optax.optimistic_adam_v2,
        True,
        "Adam with the last change added; games",
        "arXiv 1711.00141",
        {"beta": AT_LEAST_0},
    ),
    Row("schedule-free-adamw", contrib.schedule_free_adamw, False, "AdamW that averages iterates", "arXiv 2405.15682"),
    Row(
        "momo-adam", contrib.momo_adam, False, "Adam with a model-based step, at most the step size", "arXiv 2305.07583"
    ),
    Row("adagrad", optax.adagrad, True, "optax's: eps inside the root, accumulator from 0.1", "Duchi et al. 2011"),
    Row("adagrad-textbook", textbook_adagrad, True, "eps outside the root, accumulator from 0", "Duchi et al. 2011"),
    Row("rmsprop", optax.rmsprop, True, "optax's: eps inside the root, accumulator from 0", "Tieleman & Hinton 2012"),
    Row(
        "rmsprop-textbook", textbook_rmsprop, True, "eps outside the root, accumulator from 0", "Tieleman & Hinton 2012"
    ),
    Row("adadelta", optax.adadelta, True, "optax's and Zeiler's: eps inside both roots", "arXiv 1212.5701"),
    Row("adadelta-textbook", textbook_adadelta, True, "eps outside both roots, accumulators from 0", "arXiv 1212.5701"),
    Row("madgrad", contrib.madgrad, False, "dual averaging with AdaGrad's cube root", "arXiv 2101.11075"),
    Row("sm3", optax.sm3, True, "AdaGrad with a memory of rows and columns only", "arXiv 1901.11150"),
    Row("adafactor", optax.adafactor, True, "Adam's second moment from rows and columns", "arXiv 1804.04235"),
    Row("galore", contrib.galore, False, "Adam in a low-rank projection of the gradient", "arXiv 2403.03507"),
    Row("novograd", optax.novograd, True, "Adam with one second moment a layer", "arXiv 1905.11286"),
    Row("sophia", sophia, False, "divides by a running estimate of the Hessian's diagonal", "arXiv 2305.14342"),
]
SIGN = [
    Row("lion", optax.lion, False, "sign of an interpolated momentum", "arXiv 2302.06675"),
    Row("sign-sgd", optax.sign_sgd, False, "sign of the gradient", "arXiv 1802.04434"),
    Row("signum", optax.signum, False, "sign of a momentum", "arXiv 1802.04434"),
    Row(
        "rprop",
        optax.rprop,
        False,
        "a step for every coordinate that grows while its sign stays",
        "Riedmiller & Braun 1993",
        {"eta_plus": AT_LEAST_1},
    ),
]
LAYERWISE = [
    Row("lamb", optax.lamb, False, "Adam scaled layer by layer to the size of the weights", "arXiv 1904.00962"),
    Row("lars", optax.lars, False, "momentum scaled layer by layer to the size of the weights", "arXiv 1708.03888"),
    Row("fromage", optax.fromage, False, "updates measured relative to each layer's size", "arXiv 2002.03432"),
    Row("muon", contrib.muon, False, "momentum of matrices made orthogonal; Adam elsewhere", "Jordan et al. 2024"),
]
PARAMETER_FREE = [
    Row("cocob", contrib.cocob, False, "coin betting; the step size scales its bets", "arXiv 1705.07795"),
    Row("dog", contrib.dog, True, "distance over gradients; the step size scales it", "arXiv 2302.12022"),
    Row("dowg", contrib.dowg, True, "distance over weighted gradients; the step size scales it", "arXiv 2305.16284"),
    Row("dadapt-adamw", contrib.dadapt_adamw, False, "AdamW times an estimate of the distance", "arXiv 2301.07733"),
    Row("prodigy", contrib.prodigy, False, "AdamW times a faster estimate of the distance", "arXiv 2306.06101"),
]
LINE_SEARCH = [
    Row(
        "steepest-descent",
        steepest_descent,
        False,
        "exact line search; the step size is the share of it taken",
        "Cauchy 1847",
    ),
    Row(
        "backtracking",
        backtracking,
        False,
        "optax's search for sufficient decrease (Armijo)",
        "Armijo 1966",
        {"increase_factor": AT_LEAST_1},
    ),
    Row(
        "goldstein",
        goldstein,
        False,
        "between Goldstein's two bounds; the step size is the first trial",
        "Goldstein 1965",
        {"c": Range(0.0, 0.5)},
    ),
    Row("wolfe", wolfe, False, "both Wolfe conditions; the step size is the first trial", "Wolfe 1969"),
    Row(
        "strong-wolfe",
        strong_wolfe,
        False,
        "optax's zoom search for the strong Wolfe conditions",
        "Nocedal & Wright, ch. 3",
    ),
]
SECOND_ORDER = [
    Row("newton", newton, False, "Newton's method, dense; the step size is the share taken", "Nocedal & Wright, ch. 3"),
    Row(
        "damped-newton",
        damped_newton,
        False,
        "Newton's direction with a backtracking search",
        "Boyd & Vandenberghe, ch. 9",
    ),
    Row(
        "newton-cg",
        newton_cg,
        False,
        "Newton's direction by conjugate gradients",
        "Nocedal & Wright, ch. 7",
        {"rtol": SHARE},
    ),
    Row("lbfgs", lbfgs, False, "L-BFGS with optax's zoom search", "Liu & Nocedal 1989"),
    Row(
        "lbfgs-fixed-step", _with(optax.lbfgs, linesearch=None), False, "L-BFGS without a search", "Liu & Nocedal 1989"
    ),
]
COORDINATE = [
    Row("coordinate-descent", coordinate_descent, False, "one coordinate a step, in turn, exactly", "arXiv 1502.04759"),
    Row(
        "random-coordinate-descent",
        _with(coordinate_descent, rule="random"),
        False,
        "one coordinate a step, at random, exactly",
        "Nesterov 2012",
    ),
    Row(
        "greedy-coordinate-descent",
        _with(coordinate_descent, rule="greedy"),
        False,
        "the coordinate of the largest gradient, exactly",
        "arXiv 1506.00552",
    ),
    Row("block-coordinate-descent", block_coordinate_descent, False, "one leaf a step, in turn", "arXiv 1502.04759"),
]

TABLE: dict[str, list[Row]] = {
    "gradient": GRADIENT,
    "adaptive": ADAPTIVE,
    "sign": SIGN,
    "layer-wise": LAYERWISE,
    "parameter-free": PARAMETER_FREE,
    "line search": LINE_SEARCH,
    "second order": SECOND_ORDER,
    "coordinate": COORDINATE,
}

LEFT_OUT = {
    "optax.MultiSteps": "accumulates gradients for any of these: optax.MultiSteps(optax.sgd(h), 4), a static count",
    "optax.lookahead": "its parameters are pairs of fast and slow weights, which a loss does not take",
    "optax.optimistic_adam": "deprecated by optax for optimistic_adam_v2, which is in the catalogue",
    "optax.contrib.dpsgd": "wants one gradient per example, where a step has the gradient of the batch",
    "optax.contrib.mechanize": "wraps any of these and sets the step size itself",
    "optax.contrib.reduce_on_plateau": "scales any of these by what it sees of the loss; it is no direction of its own",
    "optax.contrib.sam": "wraps two of these; pass a family of your own that builds both from the step size",
    "optax.contrib.schedule_free": "wraps any of these; its own sgd and adamw are in the catalogue",
    "optax.noisy_sgd's seed": "is no number to sweep; every run sees one sequence of noise",
}
"""What of optax is no entry, and why; and what of an entry is no axis."""
