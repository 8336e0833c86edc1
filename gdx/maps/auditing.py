"""What a random check of filled-in cells proves about all of them; NumPy and SciPy alone."""

from __future__ import annotations

import math
from typing import NamedTuple

from gdx.records import record

CONFIDENCE = 0.95
"""Of the bound, over all rounds together."""
SPENT = 0.7
"""Share of what is left of the error probability that a round may spend; most maps need one round alone."""
LIKELY = 0.7
"""How probable it should be that a round succeeds, for it to be planned as it is."""
MOST_WRONG = 40
"""Cells that a round may be planned to find wrong and still succeed."""


@record
class Audit(NamedTuple):
    """Cells that were filled in, and then computed at random to see how many of them were filled in wrongly.

    Every round draws from the cells that are filled in at its time, and what it draws is computed from then on. A round
    after which the map was refined further proves nothing of the map that came of it; the last one counts alone, at a
    confidence that makes up for the rounds before.

    Examples
    --------
    >>> from gdx.maps import Audit
    >>> print(Audit(checked=3_352, wrong=0, filled=250_000, bound=9.5e-4))
    0 of 3352 filled-in cells checked were wrong: at most 0.095 % of the map at 95 %
    >>> print(Audit.of_dense())
    every cell was computed
    """

    checked: int
    """Cells checked in the last round; 0 where every cell was computed, or the map is not finished."""
    wrong: int
    """Of these, how many were filled in wrongly; they are right now."""
    filled: int
    """Cells that were filled in when the last round drew from them."""
    bound: float
    """Upper bound, at 95 %, on the share of the whole map that is wrong: on how many of the cells still filled in are
    wrong, over all cells. 0 where every cell was computed, NaN where nothing is known."""
    rounds: tuple[tuple[int, int], ...] = ()
    """Of all rounds, `(checked, wrong)`."""

    @classmethod
    def of_dense(cls, rounds: tuple[tuple[int, int], ...] = ()) -> Audit:
        """That of a map without a filled-in cell.

        Parameters
        ----------
        rounds
            Those before every cell was computed.

        Returns
        -------
        Audit
        """
        return cls(0, 0, 0, 0.0, rounds)

    def __str__(self) -> str:
        """Say what was checked and what follows."""
        if math.isnan(self.bound):
            return "not audited"
        if self.filled == 0:
            return "every cell was computed"
        told = f"{self.wrong} of {self.checked} filled-in cells checked were wrong"
        return f"{told}: at most {100 * self.bound:.2g} % of the map at {CONFIDENCE:.0%}".replace("95%", "95 %")


def error_of_round(number: int) -> float:
    """Error probability that a round may spend, so that all rounds together, however many, spend no more than 5 %.

    Parameters
    ----------
    number
        Of the round, from 0.

    Returns
    -------
    float
    """
    return (1 - CONFIDENCE) * SPENT * (1 - SPENT) ** number


def upper_bound(wrong: int, checked: int, error: float) -> float:
    """Bound a share from above by Clopper and Pearson's interval, one-sided.

    Draws without replacement, as these are, scatter less than the binomial ones that it is about.

    Parameters
    ----------
    wrong, checked
        How many were wrong of how many.
    error
        Probability that a share lies above its bound.

    Returns
    -------
    float
        1 where nothing was checked or all was wrong.
    """
    from scipy.special import betaincinv

    return 1.0 if wrong >= checked else float(betaincinv(wrong + 1, checked - wrong, 1 - error))


def bound_of_map(wrong: int, checked: int, filled: int, total: int, error: float) -> float:
    """Bound the share of a map that is wrong after a round, whose own cells are right from then on.

    Parameters
    ----------
    wrong, checked, error
        As in `upper_bound`.
    filled, total
        Cells that the round was drawn from, and all.

    Returns
    -------
    float
    """
    most = min(upper_bound(wrong, checked, error) * filled - wrong, filled - checked)
    return max(most, 0.0) / total


def planned_checks(expected: float, filled: int, total: int, max_wrong: float, error: float) -> int:
    """How many cells to check, so that a round will probably prove what is asked for.

    Parameters
    ----------
    expected
        Share of the filled-in cells that is thought to be wrong.
    filled, total, error
        As in `bound_of_map`.
    max_wrong
        What is asked for.

    Returns
    -------
    int
        `filled`, all of them, where no fewer will do.
    """
    from scipy.special import bdtr

    for wrong in range(MOST_WRONG):
        checked = _fewest_checks(wrong, filled, total, max_wrong, error)
        if checked >= filled:
            break
        if bdtr(wrong, checked, expected) >= LIKELY:
            return checked
    return filled


def _fewest_checks(wrong, filled, total, max_wrong, error):
    """So many that finding no more wrong ones is proof."""
    low, high = wrong, filled
    while high - low > 1:
        middle = (low + high) // 2
        proves = bound_of_map(wrong, middle, filled, total, error) < max_wrong
        low, high = (low, middle) if proves else (middle, high)
    return high
