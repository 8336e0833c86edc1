"""What is seen of a run: the user's own watchers, and the statistics of a window of its steps.

What else a run is to be asked goes into an observer, a pure triple that sees every step: `view.params`, `view.loss`,
`view.gradient`, the optimizer's `view.update`, `view.hyperparams` and `view.step`.

Examples
--------
How long the way was, whose state is a dict:

>>> import jax, jax.numpy as jnp, optax, gdx
>>> travelled = gdx.Observer(
...     init=lambda params: {"path": 0.0, "per_step_size": 0.0},
...     update=lambda seen, view: {
...         "path": seen["path"] + optax.tree.norm(view.update),
...         "per_step_size": seen["per_step_size"] + optax.tree.norm(view.update) / view.hyperparams,
...     },
...     summarise=lambda seen: seen,
... )
>>> bowl = gdx.problems.quadratic([2.0], start=[1.0])
>>> run = gdx.sweep(bowl, optax.sgd, num_steps=200, observers={"travelled": travelled})
>>> runs = run([0.1, 0.25], jax.random.split(jax.random.key(0), 1))
>>> runs.observed["travelled"]["path"].round(6)  # straight to the minimum
array([[1.],
       [1.]])
"""

from gdx.observers.lyapunov import LyapunovExponents, lyapunov
from gdx.observers.observer import Observer, ever_rose, last_params, search_failures
from gdx.observers.orbits import Extent, attractor, extent, last_values
from gdx.observers.windows import (
    TailStatistics,
    Window,
    cycle_period,
    exact_repetition,
    near_period,
    tail_statistics,
)

__all__ = [
    "Extent",
    "LyapunovExponents",
    "Observer",
    "TailStatistics",
    "Window",
    "attractor",
    "cycle_period",
    "ever_rose",
    "exact_repetition",
    "extent",
    "last_params",
    "last_values",
    "lyapunov",
    "near_period",
    "search_failures",
    "tail_statistics",
]
