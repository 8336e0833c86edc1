"""Optimizers by name, with the hyperparameters they take."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

STEP_SIZE_NAMES = ("learning_rate", "step_size")
COEFFICIENTS = ("momentum", "decay", "b1", "b2", "rho")
"""Hyperparameters that weigh the past against the present."""


class OptimizerEntry(NamedTuple):
    """A named optimizer."""

    make: Callable[..., optax.GradientTransformation]
    """Takes the step size first, hyperparameters by keyword."""
    line: str

    @property
    def hyperparameters(self) -> dict[str, float | bool | None]:
        """Numbers and switches that it takes by keyword, with their defaults; None for one that is off."""
        parameters = inspect.signature(self.make).parameters.values()
        return {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.name not in STEP_SIZE_NAMES
            and (isinstance(parameter.default, (int, float)) or parameter.name == "momentum")
        }


def catalogue() -> dict[str, OptimizerEntry]:
    """Give every named optimizer.

    Returns
    -------
    dict
        Name to `OptimizerEntry`: optax's own functions, under optax's names where there is no older one.
    """
    heavy_ball = functools.partial(optax.sgd, momentum=0.9)
    return {
        "sgd": OptimizerEntry(optax.sgd, "gradient descent; heavy ball or Nesterov with --momentum"),
        "momentum": OptimizerEntry(heavy_ball, "heavy ball, momentum 0.9"),
        "nesterov": OptimizerEntry(
            functools.partial(optax.sgd, momentum=0.9, nesterov=True),
            "Nesterov's momentum, 0.9, as optax writes it",
        ),
        "adam": OptimizerEntry(optax.adam, "running first and second moments, bias corrected"),
        "adamw": OptimizerEntry(optax.adamw, "Adam with decoupled weight decay"),
        "nadam": OptimizerEntry(optax.nadam, "Adam with Nesterov's look-ahead"),
        "amsgrad": OptimizerEntry(optax.amsgrad, "Adam whose second moment never falls"),
        "adamax": OptimizerEntry(optax.adamax, "Adam with the infinity norm for second moment"),
        "adabelief": OptimizerEntry(optax.adabelief, "Adam that divides by the gradient's surprise"),
        "radam": OptimizerEntry(optax.radam, "Adam with a rectified start"),
        "yogi": OptimizerEntry(optax.yogi, "Adam whose second moment moves by a fixed share"),
        "adagrad": OptimizerEntry(optax.adagrad, "divides by the root of the sum of squared gradients"),
        "rmsprop": OptimizerEntry(optax.rmsprop, "divides by a running root mean square of gradients"),
        "adadelta": OptimizerEntry(optax.adadelta, "scales by the ratio of running update and gradient sizes"),
        "lion": OptimizerEntry(optax.lion, "sign of an interpolated momentum"),
        "sign-sgd": OptimizerEntry(optax.sign_sgd, "sign of the gradient"),
        "lamb": OptimizerEntry(optax.lamb, "Adam scaled layer by layer to the size of the weights"),
        "lars": OptimizerEntry(optax.lars, "momentum scaled layer by layer to the size of the weights"),
        "novograd": OptimizerEntry(optax.novograd, "Adam with one second moment a layer"),
        "fromage": OptimizerEntry(optax.fromage, "updates measured relative to each layer's size"),
        "sm3": OptimizerEntry(optax.sm3, "AdaGrad with a memory of rows and columns only"),
    }


def family(
    name: str, hyperparameters: Mapping[str, Any] | None = None
) -> Callable[[Any], optax.GradientTransformation]:
    """Make the family of a named optimizer at fixed hyperparameters.

    Parameters
    ----------
    name
        One of `catalogue()`.
    hyperparameters
        Numbers and switches by the optimizer's own names.

    Returns
    -------
    callable
        `step_size -> optax transformation`.

    Raises
    ------
    ValueError
        If there is no such optimizer, it does not take a hyperparameter, or a value is no number.
    """
    entries = catalogue()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see gdx list"
        raise ValueError(f"optimizer: {name!r} is unknown; {remedy}")
    taken = entries[name].hyperparameters
    for key, value in (hyperparameters or {}).items():
        if key not in taken:
            raise ValueError(f"{key}: the optimizer {name} does not take it; it takes {', '.join(taken) or 'none'}")
        if isinstance(taken[key], bool) and not isinstance(value, bool):
            raise ValueError(f"{key}: {value!r} is no switch; pass true or false")
        if not isinstance(value, (bool, int, float)):
            raise ValueError(f"{key}: {value!r} is no number; pass one, as in --set {key}=0.9")
        if key in COEFFICIENTS and not 0 <= value < 1:
            raise ValueError(f"{key}: {value} is outside [0, 1); the usual value is 0.9")
        if not isinstance(value, bool) and not 0 <= value < math.inf:
            raise ValueError(f"{key}: {value} is outside [0, inf); the default is {taken[key]}")
    return functools.partial(entries[name].make, **(hyperparameters or {}))
