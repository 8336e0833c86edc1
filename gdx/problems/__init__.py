"""What is minimised: constructors of `Problem`, one file a kind.

Your own loss goes in with `gdx.problem`, a model with mutable state with `gdx.stateful_problem`; `maximise=True`
climbs the loss instead of descending it. Saved as `hyperbola` in `my_module.py`, a problem is drawn by `gdx
transition my_module:hyperbola`.

A model of Flax, Haiku or Equinox goes in with a loss of the model and a batch, and with batches as you have them: a
list, a generator, a loader. Batch statistics, other mutable state and dropout keys are carried along.

- `loss(params, batch)`, parameters and batches: `from_batches(loss, params, batches)`; `keyed=True` for
  `loss(params, batch, key)`;
- a Flax Linen module: `from_flax(model, loss, batches, rngs=("dropout",))`;
- a Flax NNX module, or a function `rngs -> module`: `from_nnx(model, loss, batches)`;
- a transformed Haiku function: `from_haiku(model, loss, batches, keyed=True)`;
- an Equinox module, a function `key -> module`, or either with its state: `from_equinox(model, loss, batches)`;
- examples, to be cut into batches, and a dropout key: `with_keys(minibatches(data, 32))`;
- a schedule of optax whose peak is the step size: one of peak 1, times it, `lambda h: optax.adam(lambda t: h *
  unit(t))`.

Data in full or in batches: `least_squares`, `logistic_regression` and `digits_mlp` take `batch_size` and `scale`.
Batches are reshuffled every epoch (or drawn with `replacement=True`); runs with one key see the same batches whatever
their step size, and facts are about the loss over all examples. A loss of your own goes in with `finite_sum(init,
losses, data, batch_size=32)`. `gdx.studies.edges_by_batch_size` measures what the size of batches does to the edge,
`gdx.studies.scaling_gain` what scaling does.

Examples
--------
What scaling the features buys, by curvature alone, times the step size:

>>> import jax, jax.numpy as jnp, numpy as np, optax, gdx
>>> rng = np.random.default_rng(0)
>>> x = rng.normal(size=(100, 5)) * [1, 2, 5, 10, 50]
>>> y = x @ rng.normal(size=5)
>>> raw, scaled = (gdx.problems.least_squares(x, y, scale=scale).known for scale in (None, "standard"))
>>> raw.min_sharpness / scaled.min_sharpness > 1_000
True

A Flax model with batch statistics, dropout, a schedule and clipping:

>>> from flax import linen as nn
>>> class Net(nn.Module):
...     @nn.compact
...     def __call__(self, x, train):
...         x = nn.tanh(nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x)))
...         return nn.Dense(1)(nn.Dropout(0.1, deterministic=not train)(x))
>>> def loss(model, batch):
...     return jnp.mean((model(batch["x"], train=True) - batch["y"]) ** 2)
>>> inputs = np.linspace(-1, 1, 64)[:, None]
>>> loader = ({"x": inputs[i::4], "y": inputs[i::4] ** 2} for i in range(4))
>>> net = gdx.problems.from_flax(Net(), loss, loader, rngs=("dropout",))
>>> def warm_adamw(step_size):
...     schedule = gdx.schedules.warmup_cosine(step_size, 200, warmup=20)
...     return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
>>> keys = jax.random.split(jax.random.key(0), 2)
>>> runs = gdx.sweep(net, warm_adamw, num_steps=200)([1e-6, 1e-2], keys)
>>> gdx.trains(runs)
array([[False, False],
       [ True,  True]])
"""

from gdx.problems import landscapes
from gdx.problems.base import Epochs, Known, Problem, problem, stateful_problem
from gdx.problems.batching import finite_sum, minibatches, with_keys
from gdx.problems.catalog import ProblemEntry, catalogue
from gdx.problems.factorizations import chain, linear_network, scalar_factorization
from gdx.problems.frameworks import from_equinox, from_flax, from_haiku, from_nnx
from gdx.problems.landscapes import *  # noqa: F403  (it says itself which landscapes are public)
from gdx.problems.landscapes import landscape_catalogue
from gdx.problems.loading import epochs_of, from_batches
from gdx.problems.networks import digits_mlp
from gdx.problems.parameterisations import PARAMETERISATIONS, LayerScales, layer_scales, mlp
from gdx.problems.quadratics import quadratic
from gdx.problems.regression import least_squares, logistic_regression
from gdx.problems.scaling import Scaling, ScalingState, min_max, robust, standardise
from gdx.problems.surfaces import Landscape
from gdx.problems.transformers import character_transformer
from gdx.problems.wells import hard_partner, quartic

__all__ = [
    "PARAMETERISATIONS",
    "Epochs",
    "Known",
    "Landscape",
    "LayerScales",
    "Problem",
    "ProblemEntry",
    "Scaling",
    "ScalingState",
    "catalogue",
    "chain",
    "character_transformer",
    "digits_mlp",
    "epochs_of",
    "finite_sum",
    "from_batches",
    "from_equinox",
    "from_flax",
    "from_haiku",
    "from_nnx",
    "hard_partner",
    "landscape_catalogue",
    "layer_scales",
    "least_squares",
    "linear_network",
    "logistic_regression",
    "min_max",
    "minibatches",
    "mlp",
    "problem",
    "quadratic",
    "quartic",
    "robust",
    "scalar_factorization",
    "standardise",
    "stateful_problem",
    "with_keys",
]
__all__ += landscapes.__all__
