"""What putting the features on one scale buys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from gdx.edges import Bracket, critical_step_size
from gdx.problems.base import Problem
from gdx.progress import Progress
from gdx.records import record
from gdx.stepping import Family
from gdx.studies.predictions import predict

if TYPE_CHECKING:
    import chex

CRITERION = "stable"
REACH = 30.0
"""How far around its prediction an edge is looked for, as a factor."""


@record
class ScalingGain(NamedTuple):
    """Critical step sizes of one problem with features scaled and raw.

    Examples
    --------
    Continues the example of `gdx.studies.scaling_gain`.

    >>> gain.measured_raw.upper < gain.measured_scaled.lower, gain.criterion
    (True, 'stable')
    """

    predicted_scaled: float
    """Threshold over the curvature at the optimum, with features scaled."""
    predicted_raw: float
    """The same with features raw."""
    measured_scaled: Bracket
    """Last success, with features scaled."""
    measured_raw: Bracket
    """The same with features raw."""
    criterion: str
    """Of the measured ones."""

    @property
    def predicted_factor(self) -> float:
        """Factor by which scaling raises the critical step size, from the curvatures at the two optima."""
        return self.predicted_scaled / self.predicted_raw

    @property
    def measured_factor(self) -> float:
        """The same from the two measured edges; NaN where a scan ended before its successes did."""
        if math.isinf(self.measured_scaled.upper) or math.isinf(self.measured_raw.upper):
            return math.nan
        return self.measured_scaled.lower / self.measured_raw.lower


def scaling_gain(
    scaled: Problem,
    raw: Problem,
    family: Family,
    *,
    keys: chex.PRNGKey,
    num_steps: int,
    rtol: float = 1e-2,
    progress: Progress = None,
) -> ScalingGain | None:
    """Compare the critical step sizes of scaled and raw features, predicted and measured.

    The criterion is "stable": raw features rarely converge within any horizon, and then nothing else compares.

    Parameters
    ----------
    scaled, raw
        The same problem with its features scaled and as they are.
    family
        `step_size -> optax transformation`.
    keys
        Typed random keys [R].
    num_steps
        The horizon T, steps.
    rtol
        Widest bracket accepted, relative.
    progress
        As in `Sweep.__call__`.

    Returns
    -------
    ScalingGain or None
        None where there is no prediction for either.

    Examples
    --------
    >>> import jax, numpy as np, optax, gdx
    >>> x, y = np.random.default_rng(0).normal(size=(20, 2)) * [1.0, 10.0], np.ones(20)
    >>> scaled, raw = (gdx.problems.least_squares(x, y, scale=scale) for scale in ("standard", None))
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> gain = gdx.studies.scaling_gain(scaled, raw, optax.sgd, keys=keys, num_steps=500)
    >>> round(gain.predicted_scaled / gain.predicted_raw)
    32
    """
    predicted: list[float] = []
    measured: list[Bracket] = []
    for problem in (scaled, raw):
        entries = {entry.name: entry for entry in predict(problem, family, keys).entries}
        entry = entries.get("closed_form") or entries.get("minimum")
        if entry is None:
            return None
        edge = critical_step_size(
            problem,
            family,
            keys=keys,
            num_steps=num_steps,
            criterion=CRITERION,
            rtol=rtol,
            bracket=(entry.value / REACH, entry.value * REACH),
            progress=progress,
            estimate=False,
        )
        predicted.append(entry.value)
        measured.append(edge.last_success)
    return ScalingGain(predicted[0], predicted[1], measured[0], measured[1], CRITERION)
