"""What a check is, and how checks become rows."""

from __future__ import annotations

import difflib
import operator
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gdx.records import record

if TYPE_CHECKING:
    Point = dict[str, Any]
    Points = dict[str, Any]


@record
class Check(NamedTuple):
    """One closed form and the way to measure it, at any number of random parameter values.

    Examples
    --------
    >>> from gdx.studies.verification import verification_checks
    >>> check = verification_checks()[0]
    >>> check.name, check.kind
    ('threshold-descent', 'threshold')
    """

    name: str
    """Its rows are called name-1, name-2, ..."""
    kind: str
    """What sort of statement it is, as "threshold" or "tail"."""
    claim: str
    """A sentence with fields, as "{b:.3g}", that a row's parameter values fill."""
    source: str
    """Paper or textbook."""
    draw: Callable[[np.random.Generator], Point]
    """`draw(rng) -> {name: value}`: one row's parameter values, numbers or arrays of one shape for all rows."""
    predict: Callable[[Point], Any]
    """`predict(point) -> number or array [K]`, the closed form; runs nothing."""
    measure: Callable[[Points], Any]
    """`measure(points) -> [N] or [N, K]`, from runs or from what gdx measures; `points` holds all rows, leaves
    [N, ...]. Of several measurements a row, as from several starts, the one farthest off is the row's."""
    bound: float | Callable[[Point], float]
    """Largest error that passes: the accuracy of the method."""
    number: int
    """Rows of a full run."""
    fast: int = 0
    """Rows of a fast run."""
    absolute: bool = False
    """Whether the error is measured - predicted itself, not divided by |predicted|; for predictions of 0."""


@record
class Claim(NamedTuple):
    """One row: a closed form at one set of parameter values, beside its measurement.

    Examples
    --------
    Continues the example of `gdx.verify`.

    >>> row = found.rows[0]
    >>> row.error <= row.bound
    True
    """

    name: str
    """Of the row; `only` finds it by that."""
    kind: str
    """What it is about, as "threshold" or "tail"."""
    claim: str
    """What is claimed, with the parameter values in it."""
    source: str
    """Paper or textbook."""
    predicted: float
    """By the closed form."""
    measured: float
    """NaN where nothing could be measured."""
    error: float
    """|measured - predicted|, divided by |predicted| unless that is 0 by the claim."""
    bound: float
    """Largest error that passes, the accuracy of the method."""
    passed: bool
    """Whether the error is within the bound."""
    seconds: float
    """Wall-clock time with compilation, a check's time shared equally by its rows."""
    note: str = ""
    """What went wrong where a check raised."""


@record
class Verification(NamedTuple):
    """All rows, and what it takes to repeat them.

    Examples
    --------
    Continues the example of `gdx.verify`.

    >>> found.seed, len(found.rows) > 0, all(row.passed for row in found.rows)
    (1, True, True)
    """

    rows: tuple[Claim, ...]
    """One a claim."""
    seed: int
    """Of the parameter values."""
    fast: bool
    """Whether only cheap rows were asked for."""
    device: str
    """What they were measured on."""
    seconds: float
    """Wall-clock time of all."""

    @property
    def failed(self) -> tuple[Claim, ...]:
        """Rows that did not pass."""
        return tuple(row for row in self.rows if not row.passed)


def run_checks(
    checks: Sequence[Check],
    seed: int = 0,
    only: str | None = None,
    fast: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Run checks in float64 and judge every row.

    Parameters
    ----------
    checks
        What to run.
    seed
        Of the parameter values; a row's own depend on the seed and its name alone.
    only
        Name of a row or of a check, the beginning of one, or a kind.
    fast
        Few cheap rows of every kind.
    progress
        Called as `progress(finished, total)`, rows, after every check.

    Returns
    -------
    Verification

    Raises
    ------
    ValueError
        If the seed is no whole number of at least 0, or nothing is called `only`.
    """
    seed = _check_seed(seed)
    started = time.perf_counter()
    chosen = _select(checks, only, fast)
    total = sum(len(numbers) for _, numbers in chosen)
    rows: list[Claim] = []
    with jax.enable_x64(True):
        for check, numbers in chosen:
            rows += _rows(check, numbers, seed)
            if progress is not None:
                progress(len(rows), total)
    device = jax.devices()[0]
    kind = "" if device.device_kind == device.platform else f" ({device.device_kind})"
    return Verification(tuple(rows), seed, fast, f"{device.platform}{kind}", time.perf_counter() - started)


def _check_seed(seed):
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"seed: {seed!r} is no whole number of at least 0; pass one, as 0")
    return number


def _select(checks, only, fast):
    """Pairs of a check and the numbers of its rows that are wanted."""
    everything = [(check, range(1, check.number + 1)) for check in checks]
    offered = [(check, range(1, check.fast + 1)) for check in checks if check.fast] if fast else everything
    if only is None:
        return offered
    chosen = _matching(offered, only)
    if not chosen and _matching(everything, only):
        raise ValueError(f"only: {only!r} has no rows in a fast run; leave fast out")
    if not chosen:
        names = dict.fromkeys([check.kind for check in checks] + [check.name for check in checks])
        near = difflib.get_close_matches(only, names, n=3, cutoff=0.5)
        kinds = ", ".join(dict.fromkeys(check.kind for check in checks))
        remedy = f"did you mean {' or '.join(near)}?" if near else f"pass the beginning of a name, or a kind: {kinds}"
        raise ValueError(f"only: no row is called {only!r}; {remedy}")
    return chosen


def _matching(offered, only):
    def matches(check, number):
        row = f"{check.name}-{number}"
        return only in (check.kind, row) or (only != "" and check.name.startswith(only))

    chosen = [(check, [number for number in numbers if matches(check, number)]) for check, numbers in offered]
    return [(check, numbers) for check, numbers in chosen if numbers]


def _rows(check: Check, numbers: Sequence[int], seed: int) -> list[Claim]:
    """Predict and measure some rows of one check; what raises becomes rows that fail."""
    started = time.perf_counter()
    names = [f"{check.name}-{number}" for number in numbers]
    # Each row has its own generator, so that its values depend on no other row.
    points = [check.draw(np.random.default_rng([seed, zlib.crc32(name.encode())])) for name in names]
    note = ""
    try:
        stacked = {field: np.stack([point[field] for point in points]) for field in points[0]}
        measured = np.asarray(check.measure(stacked), float).reshape(len(points), -1)
        predicted = [np.asarray(check.predict(point), float) for point in points]
    except Exception as error:
        # Whatever goes wrong in one check is that check's result, and the others go on.
        note = f"{type(error).__name__}: {error}".strip().split("\n")[0]
        measured = np.full((len(points), 1), np.nan)
        predicted = [np.asarray(np.nan)] * len(points)
    seconds = (time.perf_counter() - started) / len(points)
    return [
        _judge(check, name, point, predicted[i], measured[i])._replace(seconds=seconds, note=note)
        for i, (name, point) in enumerate(zip(names, points, strict=True))
    ]


def _judge(check: Check, name: str, point: Mapping[str, Any], predicted: np.ndarray, measured: np.ndarray) -> Claim:
    """Hold a row's measurements against its prediction, the worst of them."""
    expected = np.broadcast_to(predicted, measured.shape)
    with np.errstate(all="ignore"):
        errors = np.abs(measured - expected) / (1.0 if check.absolute else np.abs(expected))
    # A measurement that is not finite is the worst that there is.
    worst = int(np.argmax(np.where(np.isfinite(errors), errors, np.inf)))
    bound = float(check.bound(dict(point)) if callable(check.bound) else check.bound)
    return Claim(
        name=name,
        kind=check.kind,
        claim=check.claim.format(**point),
        source=check.source,
        predicted=float(expected[worst]),
        measured=float(measured[worst]),
        error=float(errors[worst]),
        bound=bound,
        passed=bool(np.all(np.isfinite(measured)) and np.all(errors <= bound)),
        seconds=0.0,
    )
