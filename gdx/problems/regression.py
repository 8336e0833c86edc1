"""Convex regression on arrays or on bundled real data, full batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems.base import Known, Problem, problem
from gdx.problems.data import bundled, scale_features

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


def least_squares(
    features: Float[np.ndarray, "M F"] | str,
    targets: Float[np.ndarray, " M"] | None = None,
    *,
    l2: float = 0.0,
    scale: str | None = "standard",
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
        How features are scaled: "standard" or None.

    Returns
    -------
    Problem
        Params `{"weights": [F], "bias": []}`, started at normal(0, 0.01). `known.min_sharpness` is exact:
        the Hessian is constant.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or l2 is negative.
    """
    inputs, outputs = _arrays(features, targets, scale)
    _check_l2(l2)
    outputs = outputs.astype(float)
    design = np.column_stack([inputs, np.ones(len(inputs))])
    hessian = design.T @ design / len(design) + np.diag([l2] * inputs.shape[1] + [0.0])
    solution = np.linalg.lstsq(hessian, design.T @ outputs / len(design), rcond=None)[0]
    residual = design @ solution - outputs
    minimum = 0.5 * np.mean(residual**2) + 0.5 * l2 * np.sum(solution[:-1] ** 2)
    x, y = jnp.asarray(inputs), jnp.asarray(outputs)

    def loss(params):
        errors = x @ params["weights"] + params["bias"][None] - y
        return 0.5 * jnp.mean(errors**2) + 0.5 * l2 * jnp.sum(params["weights"] ** 2)

    sharpness = float(np.linalg.eigvalsh(hessian)[-1])
    known = Known(sharpness, float(minimum), None, "constant Hessian of least squares")
    return problem(_linear_init((inputs.shape[1],), ()), loss, known=known)


def logistic_regression(
    features: Float[np.ndarray, "M F"] | str,
    labels: Shaped[np.ndarray, " M"] | None = None,
    *,
    l2: float = 1e-3,
    scale: str | None = "standard",
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
        How features are scaled: "standard" or None.

    Returns
    -------
    Problem
        Params `{"weights": [F] or [F, classes], "bias": [] or [classes]}`, started at normal(0, 0.01).

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, there are fewer than two classes, or l2 is negative.
    """
    inputs, labels = _arrays(features, labels, scale)
    _check_l2(l2)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels: {len(classes)} class is not enough; pass labels of two or more classes")
    x, y = jnp.asarray(inputs), jnp.asarray(codes)
    if len(classes) == 2:
        shape, cross_entropy = (), optax.sigmoid_binary_cross_entropy
    else:
        shape, cross_entropy = (len(classes),), optax.softmax_cross_entropy_with_integer_labels

    def loss(params):
        logits = x @ params["weights"] + params["bias"][None]
        return jnp.mean(cross_entropy(logits, y)) + 0.5 * l2 * jnp.sum(params["weights"] ** 2)

    return problem(_linear_init((inputs.shape[1], *shape), shape), loss)


def _linear_init(weights_shape, bias_shape):
    def init(key) -> dict[str, Any]:
        weights = 0.01 * jax.random.normal(key, weights_shape)
        return {"weights": weights, "bias": jnp.zeros(bias_shape, weights.dtype)}

    return init


def _arrays(features, targets, scale):
    if isinstance(features, str):
        features, targets = bundled(features)
    if targets is None:
        raise ValueError("targets: missing; pass one a row of features, or the name of a bundled data set")
    inputs, targets = scale_features(features, scale), np.asarray(targets)
    if targets.shape != (len(inputs),):
        raise ValueError(f"targets: shape {targets.shape} does not fit {len(inputs)} examples; pass [M]")
    if targets.dtype.kind in "fc" and not np.all(np.isfinite(targets)):
        raise ValueError("targets: some are not finite; impute or drop them first")
    return inputs, targets


def _check_l2(l2):
    if not (np.isfinite(l2) and l2 >= 0):
        raise ValueError(f"l2: {l2} is outside [0, inf); pass 0 for no penalty")
