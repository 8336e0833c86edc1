"""Every closed form that gdx knows, held against a measurement on this machine. One file a subject."""

from __future__ import annotations

from gdx.progress import Progress, shown
from gdx.studies.verification import (
    controls,
    doublings,
    edges,
    factorizations,
    laboratories,
    phases,
    rates,
    regressions,
    stochastic,
    tails,
    thresholds,
    wells,
)
from gdx.studies.verification.base import Check, Claim, Verification, run_checks

__all__ = ["Check", "Claim", "Verification", "verification_checks", "verify"]

SUBJECTS = (
    thresholds,
    edges,
    wells,
    regressions,
    factorizations,
    tails,
    laboratories,
    phases,
    doublings,
    stochastic,
    rates,
    controls,
)


def verification_checks() -> list[Check]:
    """List all checks, in the order of their rows.

    Returns
    -------
    list

    Examples
    --------
    >>> from gdx.studies.verification import verification_checks
    >>> sum(check.number for check in verification_checks())
    160
    """
    return [check for subject in SUBJECTS for check in subject.checks()]


def verify(
    seed: int = 0,
    only: str | None = None,
    fast: bool = False,
    progress: Progress = None,
) -> Verification:
    """Hold every closed form that gdx knows against a measurement, at random parameter values.

    The predicted side is a formula. The measured side comes from running optimizers, or from what gdx measures:
    thresholds, sharpness, edges. All of it runs in float64, whatever the caller's precision, on the default device.

    Parameters
    ----------
    seed
        Of the parameter values, at least 0. Those of a row depend on the seed and its name alone, so that a row
        measures the same with `only` and without.
    only
        Name of a row, the beginning of one, or a kind, as "threshold"; by default all rows.
    fast
        A few cheap rows of every kind, in a fraction of the time.
    progress
        Called as `progress(finished, total)`, rows, after every check; by default a bar on a terminal, False for none.

    Returns
    -------
    Verification

    Raises
    ------
    ValueError
        If the seed is no whole number of at least 0, or no row is called `only`.

    Notes
    -----
    A row passes where its error is at most its bound. Bounds are the accuracy of each method of measurement; values
    are drawn away from the few places where a method is worse. What raises inside a check becomes rows that fail, with
    the sentence in `note`.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.verify(seed=1, only="threshold-descent")
    >>> found.failed
    ()
    """
    with shown(progress, "claims") as told:
        return run_checks(verification_checks(), seed, only, fast, told)
