"""Bundled real data, and putting features on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.problems.scaling import SCALINGS, as_matrix

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

BUNDLED = ("breast-cancer", "diabetes", "digits")
SCALES = (*SCALINGS, None)


class Dataset(NamedTuple):
    """Features and targets of one data set."""

    features: Float[np.ndarray, "M F"]
    targets: Shaped[np.ndarray, " M"]


def bundled(name: str) -> Dataset:
    """Load a real data set that scikit-learn carries; nothing is downloaded.

    Parameters
    ----------
    name
        "breast-cancer" (569 x 30, two classes), "diabetes" (442 x 10, a number, raw units) or "digits"
        (1797 x 64, ten classes).

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If there is no such data set.
    ImportError
        If scikit-learn is not installed (extra `lab`).
    """
    if name not in BUNDLED:
        raise ValueError(f"name: {name!r} is no bundled data set; choose from {', '.join(BUNDLED)}")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("bundled data needs scikit-learn; install gdx with its extra 'lab'") from error
    if name == "diabetes":
        features, targets = datasets.load_diabetes(return_X_y=True, scaled=False)
    else:
        load = {"breast-cancer": datasets.load_breast_cancer, "digits": datasets.load_digits}[name]
        features, targets = load(return_X_y=True)
    return Dataset(np.asarray(features, float), np.asarray(targets))


def scale_features(
    features: Float[np.ndarray, "M F"], scale: str | None, *, constant: str = "zero"
) -> Float[np.ndarray, "M F"]:
    """Put every feature on one scale, fitted on these examples.

    To scale further examples by the same fit, use `fit` and `apply` of `gdx.problems.scaling`.

    Parameters
    ----------
    features
        [M, F], finite.
    scale
        "standard" for mean 0 and standard deviation 1, "minmax" for [0, 1], "robust" for median 0 and distance 1
        between the quartiles, None for as they are.
    constant
        "zero" lets constant columns become 0, "error" refuses them. Without a scale they stay as they are.

    Returns
    -------
    array
        [M, F] in float64.

    Raises
    ------
    ValueError
        If the features are not a finite matrix, one is constant and that is an error, or a name is unknown.
    """
    if scale not in SCALES:
        raise ValueError(f"scale: {scale!r} is unknown; choose {', '.join(map(repr, SCALINGS))} or None")
    matrix = as_matrix(features)
    if scale is None:
        return matrix
    scaling = SCALINGS[scale]
    return scaling.apply(scaling.fit(features, constant), matrix)


def entropy(labels: Any) -> float:
    """Mean cross-entropy of the best constant prediction: the entropy of the frequencies of classes, in nats.

    Parameters
    ----------
    labels
        [M], of any values.

    Returns
    -------
    float
    """
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
