"""Where cycles double their period, and where that ends in chaos, measured without any prediction."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx.edges import Cascade, make_cycles, period_doublings
from gdx.problems import problem
from gdx.stepping import train_step
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import descend

DOUBLINGS = (1.0, np.sqrt(5) - 1, 1.288031754, 1.299227940, 1.301628914)
"""Of the quartic with a = 1; from the third on there is no closed form, and nine decimals are known."""
CHAOS = 1.30228346
SECOND = {2: np.sqrt(5) - 1, 3: 0.829738, 4: 0.623585}
"""Second doubling of a chain of k factors with target 1; for three factors and four, six decimals are known."""
LONGEST = max(SECOND)
NEAR = 0.01
"""Step size at which all minima that are drawn are stable."""


# Problems of a point's values


def well(h: Any) -> Any:
    """(w^2 - a^2)^2 / 4, a vector of one."""
    return problem(jnp.zeros(1), lambda w: 0.25 * jnp.sum((w**2 - h["a"] ** 2) ** 2))


def chain(h: Any) -> Any:
    """Half of (x1 ... xk - y)^2 for any k, through one program: parameters beyond the first k do nothing."""
    used = jnp.arange(LONGEST) < h["k"]
    return problem(jnp.zeros(LONGEST), lambda w: 0.5 * (jnp.prod(jnp.where(used, w, 1.0)) - h["y"]) ** 2)


# Cycles


@functools.cache
def _programs(make):
    """Compiled once for all points."""
    return make_cycles(make, descend)


def cascade(make: Any, point: dict[str, float], minimum: Any, number: int) -> Cascade:
    """Find the first period doublings of gradient descent.

    Parameters
    ----------
    make
        A problem of a point's values.
    point
        The values, without a step size.
    minimum
        Where the flattest minimum is, [D].
    number
        Doublings wanted.

    Returns
    -------
    Cascade
    """
    values = {name: jnp.asarray(value, float) for name, value in point.items()}

    def at(step_size):
        return values | {"step_size": step_size}

    start = train_step(make, descend).init(at(jnp.asarray(NEAR)), jax.random.key(0))
    start = start._replace(params=jnp.asarray(minimum, float))
    # The multiplier of a minimum is linear in the step size, for which a secant is exact from anywhere.
    return period_doublings(_programs(make), at, start, near=NEAR, number=number)


def _last(found, number):
    """The doubling of that number; NaN where it was not found."""
    return found.doublings[number - 1].step_size if len(found.doublings) >= number else math.nan


# Measurements


def measure_quartic(points: Any) -> list[float]:
    """The doubling of the row's order."""
    found = []
    for a, order in zip(points["a"], points["order"], strict=True):
        found.append(_last(cascade(well, {"a": a}, np.full(1, a), int(order)), int(order)))
    return found


def measure_chain(order: int, points: Any) -> list[float]:
    """The first or second doubling of a chain, in all its dimensions."""
    found = []
    for k, y in zip(points["k"], points["y"], strict=True):
        minimum = np.where(np.arange(LONGEST) < k, y ** (1 / k), 0.0)
        found.append(_last(cascade(chain, {"k": k, "y": y}, minimum, order), order))
    return found


def measure_chaos(points: Any) -> list[float]:
    """Where seven doublings accumulate: Aitken's extrapolation of the last three."""
    return [cascade(well, {"a": a}, np.full(1, a), 7).onset[0] for a in points["a"]]


# What is drawn: the length a or the target y sets the scale of everything, and none is special


def _draw_quartic(rng):
    return {"a": rng.uniform(0.5, 2.0)}


def _draw_chain(k):
    return lambda rng: {"k": k, "y": rng.uniform(0.3, 3.0)}


def _of_order(order):
    return lambda rng: _draw_quartic(rng) | {"order": order}


PHASES = "Chen et al., arXiv 2310.01687"
DEEP = "Craciun & Ghoshdastidar, arXiv 2402.13108"
POLISHED = 1e-8
"""Newton and the secant end at rounding; a multiplier's own rounding grows with the period, to some 1e-12 at 8."""
NINE_DECIMALS, EIGHT_DECIMALS, SIX_DECIMALS = 6e-10, 6e-9, 6e-7
"""Half of the last decimal that is known, and a little for the measurement; to be divided by the value."""


def _quartics():
    for order, value in enumerate(DOUBLINGS, start=1):
        yield Check(
            f"doubling-quartic-{2 ** (order - 1)}",
            "doubling",
            f"(w^2 - a^2)^2 / 4, a = {{a:.4g}}: period {2 ** (order - 1)} doubles at eta a^2 = {value:.10g}",
            PHASES,
            _of_order(order),
            lambda p, value=value: value / p["a"] ** 2,
            measure_quartic,
            POLISHED if order < 3 else NINE_DECIMALS / value,
            1,
            fast=int(order == 2),
        )
    yield Check(
        "chaos-quartic",
        "chaos",
        f"(w^2 - a^2)^2 / 4, a = {{a:.4g}}: doublings accumulate, and chaos begins, at eta a^2 = {CHAOS}",
        "Feigenbaum, J. Stat. Phys. 19, 1978",
        _draw_quartic,
        lambda p: CHAOS / p["a"] ** 2,
        measure_chaos,
        # Aitken leaves a few times 1e-10 of seven doublings.
        EIGHT_DECIMALS / CHAOS,
        1,
        fast=1,
    )


def _chains():
    for k, value in SECOND.items():
        yield Check(
            f"doubling-chain-{k}-first",
            "doubling",
            "(x1 ... xk - y)^2 / 2, k = {k}, y = {y:.4g}: the flattest minimum doubles at eta = 2 / (k y^(2 - 2/k))",
            DEEP,
            _draw_chain(k),
            lambda p: 2 / (p["k"] * p["y"] ** (2 - 2 / p["k"])),
            functools.partial(measure_chain, 1),
            POLISHED,
            1,
        )
        yield Check(
            f"doubling-chain-{k}-second",
            "doubling",
            f"(x1 ... xk - y)^2 / 2, k = {{k}}, y = {{y:.4g}}: the 2-cycle doubles at eta y^(2 - 2/k) = {value:.7g}",
            DEEP,
            _draw_chain(k),
            lambda p, value=value: value / p["y"] ** (2 - 2 / p["k"]),
            functools.partial(measure_chain, 2),
            POLISHED if k == 2 else SIX_DECIMALS / value,
            1,
        )


def checks() -> list[Check]:
    """All checks of period doublings.

    Returns
    -------
    list
    """
    return [*_quartics(), *_chains()]
