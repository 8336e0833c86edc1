"""Which experiments tell what an optimizer makes of gradients and parameters, and what speaks against a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.responses.impulses import (
    FAINT,
    FAR,
    FIRST_LENGTH,
    HEAD,
    MOST_STARTS,
    NOISE_LENGTH,
    Bench,
    Experiment,
    Setting,
)

if TYPE_CHECKING:
    from jaxtyping import Float

NUM_HEADS = 32
NOISES = {False: (1.0, -1e-6, 1e6), True: (1.0, -1e-3, 30.0)}
"""Sizes of the noise, in units of an impulse, without and with a preconditioner."""
MOST_NUMBERS = 1 << 15
"""Entries of the stand-in times starts."""


class Findings(NamedTuple):
    """What the experiments gave."""

    gradient: Float[np.ndarray, "S J"]
    """The update that follows a unit gradient in one entry, at S successive starts."""
    params: Float[np.ndarray, "S J"]
    """The update that follows a parameter of 1."""
    aside: float
    """The largest update of another entry, over that of the entry itself."""
    others: dict[str, Float[np.ndarray, " J"]]
    """The single experiments' series, by name."""
    heads: dict[str, Float[np.ndarray, "H D"]]
    """Their first updates of all entries."""


def findings(
    bench: Bench, is_preconditioned: bool, burn_in: int, late: int, entry: int = 0, param_entry: int = 0
) -> Findings:
    """Make all experiments at once.

    Parameters
    ----------
    bench
        The optimizer.
    is_preconditioned
        Whether it divides by something that it learns.
    burn_in
        Steps before the experiments.
    late
        Count of updates that a preconditioner is measured at.
    entry, param_entry
        Entries of the stand-in that the impulses belong to.

    Returns
    -------
    Findings
    """
    count = late if is_preconditioned else 0
    settings = [
        Setting(burn_in, jump=count),
        Setting(burn_in, jump=count, step_size=0.5),
        Setting(burn_in, jump=count, background=2.0),
        Setting(burn_in),
        Setting(burn_in, jump=count, standing=1.0),
        Setting(2 * burn_in, jump=count),
        *(Setting(burn_in, jump=count + far) for far in FAR),
    ]
    sizes = NOISES[is_preconditioned]
    of_gradient, of_params = Experiment(entry=entry, impulse=1.0), Experiment(entry=param_entry, param=1.0)
    single = {
        "thrice": of_gradient._replace(impulse=3.0),
        "reversed": of_gradient._replace(impulse=-1e-3),
        "params reversed": of_params._replace(param=-2.0),
        "halved": of_gradient._replace(setting=1),
        "params halved": of_params._replace(setting=1),
        "params on more": of_params._replace(setting=2),
        "first": Experiment(setting=3, entry=entry, everywhere=1 / FAINT),
        "standing": of_gradient._replace(setting=4),
        **{f"late {i}": of_gradient._replace(setting=i, held_from=0) for i in (5, 6, 7)},
        **{f"params late {i}": of_params._replace(setting=i, held_from=0) for i in (5, 6, 7)},
        "everywhere": Experiment(entry=entry, everywhere=1.0),
        "params everywhere": Experiment(entry=param_entry, param_everywhere=1.0),
        "everywhere halved": Experiment(setting=1, entry=entry, everywhere=1.0),
        "params everywhere halved": Experiment(setting=1, entry=param_entry, param_everywhere=1.0),
        **{f"noise {size}": Experiment(entry=entry, noise=size) for size in sizes},
        **{f"moving {size}": Experiment(entry=entry, noise=size, param_noise=size) for size in sizes},
    }
    num_starts = starts_for(bench.num_entries)
    rows = [kind._replace(start=start) for kind in (of_gradient, of_params) for start in range(num_starts)]
    found = bench.play(settings, [*single.values(), *rows], FIRST_LENGTH, num_starts, len(single))
    gradient, params = found.series[len(single) :].reshape(2, num_starts, -1)
    with np.errstate(all="ignore"):
        sides = found.aside[len(single) :].reshape(2, -1).max(1) / np.abs((gradient, params)).reshape(2, -1).max(1)
    return Findings(
        gradient,
        params,
        float(np.nanmax(np.nan_to_num(sides, nan=0.0))),
        dict(zip(single, found.series, strict=False)),
        dict(zip(single, found.heads, strict=True)),
    )


def starts_for(num_entries: int) -> int:
    """Successive starts of the count that are tried on a stand-in of so many entries."""
    return int(np.clip(MOST_NUMBERS // num_entries, NOISE_LENGTH, MOST_STARTS))


def period_of(found: Findings) -> int | None:
    """Smallest number of steps after which an optimizer answers alike; None where there is none.

    Parameters
    ----------
    found
        Of the experiments.

    Returns
    -------
    int or None
        At most half the number of starts.
    """
    rows = np.concatenate([found.gradient / _size(found.gradient), found.params / _size(found.params)], axis=1)
    for period in range(1, len(rows) // 2 + 1):
        if is_close(rows[period:], rows[:-period]):
            return period
    return None


def superposed(
    found: Findings, gains: Float[np.ndarray, " D"], decays: Float[np.ndarray, " D"], bench: Bench, moving: bool
) -> Float[np.ndarray, "H D"]:
    """Updates that follow the bench's noise if all that was found of single impulses adds up.

    Parameters
    ----------
    found
        Of the experiments.
    gains, decays
        What every entry has of `found.gradient` and `found.params`.
    bench
        Holds the noise.
    moving
        Whether the parameters move too.

    Returns
    -------
    array
        [H, D], for noise of size 1.
    """
    expected = np.zeros((HEAD, bench.num_entries))
    for start in range(NOISE_LENGTH):
        rest = HEAD - start
        expected[start:] += np.outer(found.gradient[start, :rest], gains * bench.noise[start])
        if moving:
            expected[start:] += np.outer(found.params[start, :rest], decays * bench.param_noise[start])
    return expected


def shares(heads: Float[np.ndarray, "H D"], rows: Float[np.ndarray, "S J"]) -> Float[np.ndarray, " D"] | None:
    """Multiples of one response that all entries show; None where an entry's has another shape.

    Parameters
    ----------
    heads
        First updates of all entries, from gradients or parameters of 1 for the first steps.
    rows
        Response of the entry that is measured, at successive starts.

    Returns
    -------
    array or None
        [D].
    """
    reference = np.zeros(HEAD)
    for start in range(NOISE_LENGTH):
        reference[start:] += rows[start, : HEAD - start]
    total = reference @ reference
    if total == 0:
        return np.zeros(heads.shape[1]) if not np.any(heads) else None
    found = reference @ heads / total
    return found if is_close(np.outer(reference, found), heads, share=1e-6) else None


def is_close(found: Float[np.ndarray, "..."], expected: Float[np.ndarray, "..."], share: float = 1e-9) -> bool:
    """Whether two responses agree up to 1e-6 of every number, or a share of the largest."""
    return bool(np.allclose(found, expected, rtol=1e-6, atol=share * _size(expected)))


def _size(rows):
    return max(float(np.max(np.abs(rows), initial=0.0)), 1e-300)
