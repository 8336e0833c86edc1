"""The table behind `catalogue`: every optimizer by name, and what of optax is left out, with the reason."""

from __future__ import annotations

import functools
from collections.abc import Callable

import optax
from optax import contrib

from gdx.optimizers.adadelta import textbook_adadelta
from gdx.optimizers.adagrad import textbook_adagrad
from gdx.optimizers.adapters import backtracking, sophia, strong_wolfe
from gdx.optimizers.coordinates import block_coordinate_descent, coordinate_descent
from gdx.optimizers.ema import ema_momentum
from gdx.optimizers.line_search.exact import steepest_descent
from gdx.optimizers.line_search.goldstein import goldstein
from gdx.optimizers.line_search.wolfe import wolfe
from gdx.optimizers.lookahead import nesterov_lookahead
from gdx.optimizers.newton_dense import damped_newton, newton
from gdx.optimizers.newton_krylov import newton_cg
from gdx.optimizers.rmsprop import textbook_rmsprop

_with = functools.partial
_heavy_ball = _with(optax.sgd, momentum=0.9)
_nesterov = _with(optax.sgd, momentum=0.9, nesterov=True)

# Name, constructor, what it is for, source.
GRADIENT = [
    ("sgd", optax.sgd, "gradient descent; heavy ball or Nesterov with momentum", "Cauchy 1847"),
    ("momentum", _heavy_ball, "heavy ball, momentum 0.9", "Polyak 1964"),
    ("ema-momentum", ema_momentum, "a running mean of gradients, s = b s + (1-b) g", "optax.ema"),
    ("ema-momentum-debiased", _with(ema_momentum, debias=True), "the same, corrected for its start at 0", "optax.ema"),
    ("nesterov", _nesterov, "Nesterov's momentum, 0.9, as optax writes it", "Nesterov 1983; Sutskever et al. 2013"),
    ("nag", _nesterov, "another name of nesterov", "Nesterov 1983; Sutskever et al. 2013"),
    ("nesterov-lookahead", nesterov_lookahead, "the gradient taken where momentum leads", "Nesterov 1983"),
    ("optimistic-gradient", optax.optimistic_gradient_descent, "adds the last change; games", "arXiv 1711.00141"),
    ("noisy-sgd", _with(optax.noisy_sgd, key=0), "gradient descent with noise that fades", "arXiv 1511.06807"),
    ("polyak-sgd", optax.polyak_sgd, "Polyak's step, at most the step size", "Polyak 1987; arXiv 2002.10542"),
    ("schedule-free-sgd", contrib.schedule_free_sgd, "averages iterates in place of a schedule", "arXiv 2405.15682"),
    ("momo", contrib.momo, "momentum with a model-based step, at most the step size", "arXiv 2305.07583"),
]
ADAPTIVE = [
    ("adam", optax.adam, "running first and second moments, bias corrected", "arXiv 1412.6980"),
    ("adamw", optax.adamw, "Adam with decoupled weight decay", "arXiv 1711.05101"),
    ("nadam", optax.nadam, "Adam with Nesterov's look-ahead", "Dozat 2016"),
    ("nadamw", optax.nadamw, "NAdam with decoupled weight decay", "Dozat 2016; arXiv 1711.05101"),
    ("amsgrad", optax.amsgrad, "Adam whose second moment never falls", "arXiv 1904.09237"),
    ("adamax", optax.adamax, "Adam with the infinity norm for second moment", "arXiv 1412.6980"),
    ("adamaxw", optax.adamaxw, "AdaMax with decoupled weight decay", "arXiv 1412.6980"),
    ("adabelief", optax.adabelief, "Adam that divides by the gradient's surprise", "arXiv 2010.07468"),
    ("radam", optax.radam, "Adam with a rectified start", "arXiv 1908.03265"),
    ("yogi", optax.yogi, "Adam whose second moment moves by a fixed share", "Zaheer et al. 2018"),
    ("adan", optax.adan, "Adam with the gradient's differences as well", "arXiv 2208.06677"),
    ("adopt", contrib.adopt, "Adam that divides by the moment of the step before", "arXiv 2411.02853"),
    ("acprop", contrib.acprop, "AdaBelief that divides by the moment of the step before", "arXiv 2110.05454"),
    ("ademamix", contrib.ademamix, "Adam with a second, much longer momentum", "arXiv 2409.03137"),
    ("simplified-ademamix", contrib.simplified_ademamix, "AdEMAMix with one momentum", "arXiv 2502.02431"),
    ("optimistic-adam", optax.optimistic_adam_v2, "Adam with the last change added; games", "arXiv 1711.00141"),
    ("schedule-free-adamw", contrib.schedule_free_adamw, "AdamW that averages iterates", "arXiv 2405.15682"),
    ("momo-adam", contrib.momo_adam, "Adam with a model-based step, at most the step size", "arXiv 2305.07583"),
    ("adagrad", optax.adagrad, "optax's: eps inside the root, accumulator from 0.1", "Duchi et al. 2011"),
    ("adagrad-textbook", textbook_adagrad, "eps outside the root, accumulator from 0", "Duchi et al. 2011"),
    ("rmsprop", optax.rmsprop, "optax's: eps inside the root, accumulator from 0", "Tieleman & Hinton 2012"),
    ("rmsprop-textbook", textbook_rmsprop, "eps outside the root, accumulator from 0", "Tieleman & Hinton 2012"),
    ("adadelta", optax.adadelta, "optax's and Zeiler's: eps inside both roots", "arXiv 1212.5701"),
    ("adadelta-textbook", textbook_adadelta, "eps outside both roots, accumulators from 0", "arXiv 1212.5701"),
    ("madgrad", contrib.madgrad, "dual averaging with AdaGrad's cube root", "arXiv 2101.11075"),
    ("sm3", optax.sm3, "AdaGrad with a memory of rows and columns only", "arXiv 1901.11150"),
    ("adafactor", optax.adafactor, "Adam's second moment from rows and columns", "arXiv 1804.04235"),
    ("galore", contrib.galore, "Adam in a low-rank projection of the gradient", "arXiv 2403.03507"),
    ("novograd", optax.novograd, "Adam with one second moment a layer", "arXiv 1905.11286"),
    ("sophia", sophia, "divides by a running estimate of the Hessian's diagonal", "arXiv 2305.14342"),
]
SIGN = [
    ("lion", optax.lion, "sign of an interpolated momentum", "arXiv 2302.06675"),
    ("sign-sgd", optax.sign_sgd, "sign of the gradient", "arXiv 1802.04434"),
    ("signum", optax.signum, "sign of a momentum", "arXiv 1802.04434"),
    ("rprop", optax.rprop, "a step for every coordinate that grows while its sign stays", "Riedmiller & Braun 1993"),
]
LAYERWISE = [
    ("lamb", optax.lamb, "Adam scaled layer by layer to the size of the weights", "arXiv 1904.00962"),
    ("lars", optax.lars, "momentum scaled layer by layer to the size of the weights", "arXiv 1708.03888"),
    ("fromage", optax.fromage, "updates measured relative to each layer's size", "arXiv 2002.03432"),
    ("muon", contrib.muon, "momentum of matrices made orthogonal; Adam elsewhere", "Jordan et al. 2024"),
]
PARAMETER_FREE = [
    ("cocob", contrib.cocob, "coin betting; the step size scales its bets", "arXiv 1705.07795"),
    ("dog", contrib.dog, "distance over gradients; the step size scales it", "arXiv 2302.12022"),
    ("dowg", contrib.dowg, "distance over weighted gradients; the step size scales it", "arXiv 2305.16284"),
    ("dadapt-adamw", contrib.dadapt_adamw, "AdamW times an estimate of the distance", "arXiv 2301.07733"),
    ("prodigy", contrib.prodigy, "AdamW times a faster estimate of the distance", "arXiv 2306.06101"),
]
LINE_SEARCH = [
    ("steepest-descent", steepest_descent, "exact line search; the step size is the share of it taken", "Cauchy 1847"),
    ("backtracking", backtracking, "optax's search for sufficient decrease (Armijo)", "Armijo 1966"),
    ("goldstein", goldstein, "between Goldstein's two bounds; the step size is the first trial", "Goldstein 1965"),
    ("wolfe", wolfe, "both Wolfe conditions; the step size is the first trial", "Wolfe 1969"),
    ("strong-wolfe", strong_wolfe, "optax's zoom search for the strong Wolfe conditions", "Nocedal & Wright, ch. 3"),
]
SECOND_ORDER = [
    ("newton", newton, "Newton's method, dense; the step size is the share taken", "Nocedal & Wright, ch. 3"),
    ("damped-newton", damped_newton, "Newton's direction with a backtracking search", "Boyd & Vandenberghe, ch. 9"),
    ("newton-cg", newton_cg, "Newton's direction by conjugate gradients", "Nocedal & Wright, ch. 7"),
    ("lbfgs", optax.lbfgs, "L-BFGS with optax's zoom search", "Liu & Nocedal 1989"),
    ("lbfgs-fixed-step", _with(optax.lbfgs, linesearch=None), "L-BFGS without a search", "Liu & Nocedal 1989"),
]
COORDINATE = [
    ("coordinate-descent", coordinate_descent, "one coordinate a step, in turn, exactly", "arXiv 1502.04759"),
    (
        "random-coordinate-descent",
        _with(coordinate_descent, rule="random"),
        "one coordinate a step, at random, exactly",
        "Nesterov 2012",
    ),
    (
        "greedy-coordinate-descent",
        _with(coordinate_descent, rule="greedy"),
        "the coordinate of the largest gradient, exactly",
        "arXiv 1506.00552",
    ),
    ("block-coordinate-descent", block_coordinate_descent, "one leaf a step, in turn", "arXiv 1502.04759"),
]

TABLE: dict[str, list[tuple[str, Callable[..., optax.GradientTransformation], str, str]]] = {
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
