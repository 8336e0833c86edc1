"""One network of any width, in the parameterisations whose step sizes are said to carry over from width to width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import check_count
from gdx.problems.base import Known, Problem
from gdx.problems.batching import finite_sum
from gdx.problems.data import bundled, entropy, scale_features
from gdx.records import record

if TYPE_CHECKING:
    import chex

PARAMETERISATIONS = ("standard", "ntk", "mup")
"""What `mlp` knows.

Examples
--------
>>> import gdx
>>> gdx.problems.PARAMETERISATIONS[-1]
'mup'
"""
OPTIMIZERS = ("sgd", "adam")
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "identity": lambda x: x,
}
CLASSES = ("digits", "breast-cancer")
LOSSES = ("cross-entropy", "square")
BASE_WIDTH = 64


@record
class LayerScales(NamedTuple):
    """What a parameterisation does to every layer, from the first to the last, L each: W = weights * w.

    Examples
    --------
    Continues the example of `gdx.problems.layer_scales`.

    >>> scales.spreads[0], type(scales).__name__
    (0.0625, 'LayerScales')
    """

    weights: tuple[chex.Numeric, ...]
    """Factors of the trained weights w."""
    spreads: tuple[chex.Numeric, ...]
    """Standard deviations of w at the start."""
    biases: tuple[chex.Numeric, ...]
    """Factors of the trained biases, which start at 0."""


class _Exponents(NamedTuple):
    """Powers of width / base width of one kind of layer, and of the biases that belong to it."""

    weights: float
    spreads: float
    biases: float


# Of the first layer, those between, and the last. Spreads of w are beside 1 / sqrt(fan in) at the base width.
_TABLE = {
    ("standard", "sgd"): (_Exponents(0, 0, 0), _Exponents(0, -0.5, 0), _Exponents(0, -0.5, 0)),
    ("ntk", "sgd"): (_Exponents(0, 0, 0), _Exponents(-0.5, 0, 0), _Exponents(-0.5, 0, 0)),
    ("mup", "sgd"): (_Exponents(0.5, -0.5, 0.5), _Exponents(0, -0.5, 0.5), _Exponents(-0.5, -0.5, 0)),
    ("mup", "adam"): (_Exponents(0, 0, 0), _Exponents(-1, 0.5, 0), _Exponents(-1, 0, 0)),
}
for _name in ("standard", "ntk"):
    _TABLE[_name, "adam"] = _TABLE[_name, "sgd"]


def layer_scales(
    widths: Sequence[int], parameterisation: str = "standard", *, optimizer: str = "sgd", base_width: int = BASE_WIDTH
) -> LayerScales:
    """Give the factors and the spreads of the start of every layer of a network.

    Parameters
    ----------
    widths
        Sizes from input to output; the hidden ones, of which there is at least one, are equal.
    parameterisation, optimizer, base_width
        As in `mlp`.

    Returns
    -------
    LayerScales

    Raises
    ------
    ValueError
        If a name is unknown, or the widths are no network of one hidden width.

    Examples
    --------
    >>> import gdx
    >>> scales = gdx.problems.layer_scales((64, 256, 10), "mup")
    >>> scales.weights
    (2.0, 0.5)
    """
    widths = tuple(check_count("widths", width, "pass whole numbers of at least 1") for width in widths)
    if len(widths) < 3 or len(set(widths[1:-1])) > 1:
        raise ValueError(f"widths: {widths} are no input, hidden layers of one width and output; try (64, 128, 10)")
    base_width = check_count("base_width", base_width, "pass the width at which all parameterisations agree")
    if parameterisation not in PARAMETERISATIONS:
        raise ValueError(f"parameterisation: {parameterisation!r} is unknown; choose {', '.join(PARAMETERISATIONS)}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer: {optimizer!r} has no row in the table; choose {' or '.join(OPTIMIZERS)}")
    first, between, last = _TABLE[parameterisation, optimizer]
    ratio, num_layers = widths[1] / base_width, len(widths) - 1
    rows = (first, *[between] * (num_layers - 2), last)
    # At the base width every weight starts at 1 / sqrt(fan in), whatever the parameterisation.
    fan_in = (widths[0], *[base_width] * (num_layers - 1))
    return LayerScales(
        weights=tuple(ratio**row.weights for row in rows),
        spreads=tuple(ratio**row.spreads / math.sqrt(n) for row, n in zip(rows, fan_in, strict=True)),
        biases=tuple(ratio**row.biases for row in rows),
    )


def mlp(
    data: str | tuple[Any, Any] = "digits",
    *,
    width: int = 64,
    depth: int = 2,
    parameterisation: str = "standard",
    optimizer: str = "sgd",
    base_width: int = BASE_WIDTH,
    activation: str = "tanh",
    loss: str | None = None,
    bias: bool = True,
    scale: str | None = "standard",
    batch_size: int | None = None,
    replacement: bool = False,
    scales: LayerScales | None = None,
) -> Problem:
    """A network of `depth` hidden layers of one width, in standard, NTK or muP parameterisation.

    Weights that are trained, w, enter the network as W = c w with a factor c for each layer that depends on the width
    alone, so that one scalar step size serves all layers and the parameterisation is a matter of the problem, not of
    the optimizer.

    Parameters
    ----------
    data
        "digits" or "breast-cancer"; or features [M, F] and targets [M], whole numbers from 0 for classes, or
        floating ones.
    width, depth
        Size of every hidden layer, and their number.
    parameterisation
        "standard" as in most libraries, "ntk" (Jacot et al. 2018) or "mup" (Yang & Hu 2021). What each is said to do
        as width grows: see the notes.
    optimizer
        Which of the two tables of muP is used. "sgd" is for optimizers whose updates are proportional to the
        gradient: gradient descent, heavy ball, Nesterov. "adam" is for those whose updates of each entry do not
        change if the gradient is multiplied by a number: Adam, RMSProp, Lion. The other parameterisations are the
        same for both.
    base_width
        Width at which all parameterisations are one and the same network, start and training: there every W starts at
        normal(0, 1 / fan in). Only powers of width / base_width are added, as Yang et al. 2022 have it ("base shapes").
    activation
        "tanh", "relu", "gelu" or "identity", which makes it a deep linear network.
    loss
        "cross-entropy", the default for classes; or "square", the only one for floating targets: half the squared
        distance from the target, or from 1 at the class and 0 elsewhere.
    bias
        Whether layers have biases.
    scale
        Of the features, as in `digits_mlp`; features that are passed stay as they are.
    batch_size, replacement
        Mini-batches, as in `finite_sum`; None for the full batch.
    scales
        Factors and spreads of your own, or traced ones, in place of the parameterisation's.

    Returns
    -------
    Problem
        Params are a tuple of `{"weights": [in, out], "bias": [out]}` as they are trained, w.

    Raises
    ------
    ValueError
        If a name is unknown, a number out of range, or the scales are of another number of layers.

    Notes
    -----
    With r = width / base_width, W = c w, and s the standard deviation of W at the start beside what it is at r = 1:

    ============ =============== ============= ============== ============= ==============
    layer        standard c, s   ntk c, s      muP, sgd c, s  muP, adam c, s biases in muP
    ============ =============== ============= ============== ============= ==============
    first        1, 1            1, 1          r^1/2, 1       1, 1          as the first c
    between      1, r^-1/2       r^-1/2, r^-1/2  1, r^-1/2    1/r, r^-1/2   r^1/2; 1
    last         1, r^-1/2       r^-1/2, r^-1/2  r^-1/2, 1/r  1/r, 1/r      1
    ============ =============== ============= ============== ============= ==============

    muP is Table 3 of Yang et al. 2022 ("Tensor Programs V", arXiv 2203.03466): variances 1/fan_in, 1/fan_in, 1/fan_in^2
    of first, middle and last weights; step sizes fan_out, 1, 1/fan_in with SGD and 1, 1/fan_in, 1/fan_in with Adam. A
    step size a layer is turned into a factor by the symmetry of Yang & Hu 2021 (arXiv 2011.14522): c times t, w over
    t, step size over t^2 with SGD, over t with Adam; with SGD this is their own muP, a = -1/2, 0, ..., 0, 1/2 and
    b = 1/2. NTK's factors are those of Jacot, Gabriel & Hongler 2018 (arXiv 1806.07572) up to constants: theirs is
    1/sqrt(fan in) everywhere with w ~ normal(0, 1).

    By counting powers, in the limit of infinite width, the largest step size of gradient descent falls as 1/width in
    standard parameterisation, and neither in NTK, where features then stand still, nor in muP, where they move. With
    Adam it falls as 1/width and width^-1/2, and not in muP. Networks of finite width need not be there yet: measure it
    with `gdx transfer`. Adam's eps is beside a gradient of w, which falls as fast as width^-2 in muP: keep it small.

    Examples
    --------
    >>> import jax, gdx
    >>> problem = gdx.problems.mlp(width=256, depth=1, parameterisation="mup")
    >>> [layer["weights"].shape for layer in problem.init(jax.random.key(0))[0]]
    [(64, 256), (256, 10)]
    """
    inputs, targets = _examples(data, scale)
    is_classes = np.issubdtype(targets.dtype, np.integer)
    loss = ("cross-entropy" if is_classes else "square") if loss is None else loss
    if loss not in LOSSES or (loss == "cross-entropy" and not is_classes):
        raise ValueError(
            f"loss: {loss!r} does not suit {targets.dtype} targets; pass cross-entropy for classes, or square"
        )
    if loss == "square":
        # One column a class, or the one target there is.
        targets = np.eye(int(targets.max()) + 1)[targets] if is_classes else targets[:, None]
    num_outputs = targets.shape[1] if loss == "square" else int(targets.max()) + 1
    chance = float(np.sum(np.var(targets, axis=0))) / 2 if loss == "square" else entropy(targets)
    depth = check_count("depth", depth, "pass the number of hidden layers")
    widths = (inputs.shape[1], *[width] * depth, num_outputs)
    made = layer_scales(widths, parameterisation, optimizer=optimizer, base_width=base_width)
    scales = made if scales is None else scales
    if any(len(part) != depth + 1 for part in scales):
        raise ValueError(f"scales: they are not of {depth + 1} layers each; make them with gdx.problems.layer_scales")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: {activation!r} is unknown; choose {', '.join(ACTIVATIONS)}")

    def losses(layers, rows):
        outputs = _outputs(layers, rows[0], scales, ACTIVATIONS[activation])
        if loss == "cross-entropy":
            return optax.softmax_cross_entropy_with_integer_labels(outputs, rows[1])
        return 0.5 * jnp.sum((outputs - rows[1].astype(outputs.dtype)) ** 2, axis=1)

    known = Known(source="best constant prediction", chance=chance) if chance > 0 else None
    start = _start(widths, scales, bias)
    return finite_sum(start, losses, (inputs, targets), batch_size=batch_size, replacement=replacement, known=known)


def _start(widths, scales, bias):
    """Draw standard normals that do not depend on the parameterisation, and scale them."""

    def init(key):
        keys = jax.random.split(key, len(widths) - 1)
        layers = []
        for one, spread, n, m in zip(keys, scales.spreads, widths[:-1], widths[1:], strict=True):
            drawn = jax.random.normal(one, (n, m))
            layer = {"weights": drawn * jnp.asarray(spread, drawn.dtype)}
            layers.append(layer | {"bias": jnp.zeros(m)} if bias else layer)
        return tuple(layers)

    return init


def _outputs(layers, inputs, scales, activate):
    """Of the last layer, [b, outputs]."""
    signal, last = inputs, len(layers) - 1
    for at, (layer, weight, bias) in enumerate(zip(layers, scales.weights, scales.biases, strict=True)):
        weights = layer["weights"]
        signal = (signal.astype(weights.dtype) @ weights) * jnp.asarray(weight, weights.dtype)
        if "bias" in layer:
            signal = signal + (layer["bias"] * jnp.asarray(bias, weights.dtype))[None]
        signal = signal if at == last else activate(signal)
    return signal


def _examples(data, scale):
    """Features [M, F] and targets [M]."""
    if isinstance(data, str):
        if data not in CLASSES:
            raise ValueError(f"data: {data!r} is unknown; choose {' or '.join(CLASSES)}, or pass features and targets")
        features, targets = bundled(data)
        # What is the same in all examples becomes 0.
        inputs = scale_features(features, scale, constant="zero")
    else:
        inputs, targets = (np.asarray(part) for part in data)
    if inputs.ndim != 2 or targets.shape != inputs.shape[:1]:
        raise ValueError(
            f"data: features {list(inputs.shape)} and targets {list(targets.shape)} do not belong together; "
            "pass [M, F] and [M]"
        )
    if not np.issubdtype(targets.dtype, np.integer):
        return inputs, targets.astype(float)
    if targets.min() < 0:
        raise ValueError("data: some class is below 0; number them from 0")
    return inputs, targets.astype(np.int32)
