"""Bundled real data, and putting features on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

BUNDLED = ("breast-cancer", "diabetes", "digits")
SCALES = ("standard", None)


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


def scale_features(features: Float[np.ndarray, "M F"], scale: str | None) -> Float[np.ndarray, "M F"]:
    """Put every feature on one scale.

    Parameters
    ----------
    features
        [M, F], finite.
    scale
        "standard" for mean 0 and standard deviation 1 (a constant feature becomes 0), None for as they are.

    Returns
    -------
    array
        [M, F].

    Raises
    ------
    ValueError
        If the features are not a finite matrix or the scale is unknown.
    """
    features = np.asarray(features, float)
    if features.ndim != 2 or features.size == 0:
        raise ValueError(f"features: shape {features.shape} is not [M, F]; pass a matrix, one row an example")
    if not np.all(np.isfinite(features)):
        bad = int(np.argmin(np.all(np.isfinite(features), axis=0)))
        raise ValueError(f"features: column {bad} has values that are not finite; impute or drop them first")
    if scale not in SCALES:
        raise ValueError(f"scale: {scale!r} is unknown; choose 'standard' or None")
    if scale is None:
        return features
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
