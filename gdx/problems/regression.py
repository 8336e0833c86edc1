"""Convex regression on arrays or on bundled real data, in full or in mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems.base import Known, Problem
from gdx.problems.batching import finite_sum
from gdx.problems.data import bundled, entropy, scale_features

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


def least_squares(
    features: Float[np.ndarray, "M F"] | str,
    targets: Float[np.ndarray, " M"] | None = None,
    *,
    l2: float = 0.0,
    scale: str | None = "standard",
    constant: str = "error",
    batch_size: int | None = None,
    replacement: bool = False,
) -> Problem:
    """Half the mean squared error of a linear model, plus l2/2 times the squared weights.

    Parameters
    ----------
    features
        [M, F], or the name of a bundled data set ("diabetes").
    targets
        [M]; left out with a bundled data set.
    l2
        Strength of the penalty on the weights, at least 0; the bias is free.
    scale
        How features are scaled: "standard", "minmax", "robust" or None, see `gdx.problems.scaling`.
    constant
        "error" refuses columns that are constant, "zero" makes them 0, as those of a bundled data set always are.
    batch_size, replacement
        Mini-batches, as in `gdx.problems.finite_sum`; None for the full batch.

    Returns
    -------
    Problem
        Params `{"weights": [F], "bias": []}`, started at normal(0, 0.01). `known.min_sharpness` is exact:
        the Hessian is constant.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, a column is constant and so cannot be scaled, l2 is negative, or
        the batch size is not from 1 to M.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> x = np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> problem = gdx.problems.least_squares(x, np.ones(2), scale=None)
    >>> round(problem.known.min_sharpness, 6)  # largest eigenvalue of x^T x / 2
    5.061553
    """
    inputs, outputs = _arrays(features, targets, scale, constant)
    _check_l2(l2)
    outputs = outputs.astype(float)
    design = np.column_stack([inputs, np.ones(len(inputs))])
    hessian = design.T @ design / len(design) + np.diag([l2] * inputs.shape[1] + [0.0])
    solution = np.linalg.lstsq(hessian, design.T @ outputs / len(design), rcond=None)[0]
    residual = design @ solution - outputs
    minimum = 0.5 * np.mean(residual**2) + 0.5 * l2 * np.sum(solution[:-1] ** 2)

    def losses(params, rows):
        x, y = rows
        errors = x @ params["weights"] + params["bias"][None] - y
        return 0.5 * errors**2 + _penalty(params, l2)

    sharpness = float(np.linalg.eigvalsh(hessian)[-1])
    chance = 0.5 * float(np.var(outputs))
    known = Known(sharpness, float(minimum), None, "constant Hessian of least squares", chance)
    init = _linear_init((inputs.shape[1],), ())
    return finite_sum(init, losses, (inputs, outputs), batch_size=batch_size, replacement=replacement, known=known)


def logistic_regression(
    features: Float[np.ndarray, "M F"] | str,
    labels: Shaped[np.ndarray, " M"] | None = None,
    *,
    l2: float = 1e-3,
    scale: str | None = "standard",
    constant: str = "error",
    batch_size: int | None = None,
    replacement: bool = False,
) -> Problem:
    """Mean cross-entropy of a linear classifier, plus l2/2 times the squared weights.

    With two classes one logit (sigmoid), with more one logit a class (softmax). Without a penalty, data that a
    plane separates have no minimum and so no critical step size.

    Parameters
    ----------
    features
        [M, F], or the name of a bundled data set ("breast-cancer", "digits").
    labels
        [M], of two or more different values; left out with a bundled data set.
    l2
        Strength of the penalty on the weights, at least 0; the bias is free.
    scale
        How features are scaled: "standard", "minmax", "robust" or None, see `gdx.problems.scaling`.
    constant
        "error" refuses columns that are constant, "zero" makes them 0, as those of a bundled data set always are.
    batch_size, replacement
        Mini-batches, as in `gdx.problems.finite_sum`; None for the full batch.

    Returns
    -------
    Problem
        Params `{"weights": [F] or [F, classes], "bias": [] or [classes]}`, started at normal(0, 0.01). Of closed
        forms only `known.chance`, the loss of the best constant prediction.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, a column is constant and so cannot be scaled, there are fewer than
        two classes, l2 is negative, or the batch size is not from 1 to M.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> x, labels = np.array([[-1.0], [0.5], [1.0], [-0.5]]), np.array([0, 0, 1, 1])
    >>> problem = gdx.problems.logistic_regression(x, labels, l2=0.1)
    >>> round(problem.known.chance, 6)  # ln 2
    0.693147
    """
    inputs, labels = _arrays(features, labels, scale, constant)
    _check_l2(l2)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels: {len(classes)} class is not enough; pass labels of two or more classes")
    if len(classes) == 2:
        shape, cross_entropy = (), optax.sigmoid_binary_cross_entropy
    else:
        shape, cross_entropy = (len(classes),), optax.softmax_cross_entropy_with_integer_labels

    def losses(params, rows):
        x, y = rows
        logits = x @ params["weights"] + params["bias"][None]
        return cross_entropy(logits, y) + _penalty(params, l2)

    init = _linear_init((inputs.shape[1], *shape), shape)
    known = Known(source="entropy of the frequencies of classes", chance=entropy(codes))
    return finite_sum(init, losses, (inputs, codes), batch_size=batch_size, replacement=replacement, known=known)


def _penalty(params, l2):
    """Of every example, [1], so that the mean over any of them has it once."""
    return 0.5 * l2 * jnp.sum(params["weights"] ** 2)[None]


def _linear_init(weights_shape, bias_shape):
    def init(key) -> dict[str, Any]:
        weights = 0.01 * jax.random.normal(key, weights_shape)
        return {"weights": weights, "bias": jnp.zeros(bias_shape, weights.dtype)}

    return init


def _arrays(features, targets, scale, constant):
    if isinstance(features, str):
        # The digits have pixels that are never lit; they become 0.
        constant = "zero"
        features, targets = bundled(features)
    if targets is None:
        raise ValueError("targets: missing; pass one a row of features, or the name of a bundled data set")
    inputs, targets = scale_features(features, scale, constant=constant), np.asarray(targets)
    if targets.shape != (len(inputs),):
        raise ValueError(f"targets: shape {targets.shape} does not fit {len(inputs)} examples; pass [M]")
    if targets.dtype.kind in "fc" and not np.all(np.isfinite(targets)):
        raise ValueError("targets: some are not finite; impute or drop them first")
    return inputs, targets


def _check_l2(l2):
    if not (np.isfinite(l2) and l2 >= 0):
        raise ValueError(f"l2: {l2} is outside [0, inf); pass 0 for no penalty")
