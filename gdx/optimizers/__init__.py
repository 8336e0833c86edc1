"""Optimizers: what optax lacks, and all of optax's by name.

Floating hyperparameters of gdx's own may be traced, and so be swept. A concrete value out of range is refused; a
traced one has no value yet and cannot be checked.

Anything that makes an optax transformation from a step size is a family, in Python as on the command line, where
`--optimizer my_module:my_function` finds it in the current folder (or `optax:adamw` where it is installed). Clipping,
weight decay and accumulation are optax's: `optax.chain(optax.clip(1.0), optax.add_decayed_weights(1e-4),
optax.sgd(h))`, `optax.MultiSteps(optax.sgd(h), 4)`. What optax lacks is here, as transformations that compose the
same way; every number in `gdx.schedules` may be swept. A run may also end as people state it:
`gdx.Stopping(gradient_norm=1e-6)` or `gdx.Stopping(loss_change=1e-9)`, with `num_steps` as its budget.

Where to find it, by the names of `catalogue()` and of `gdx transition --optimizer`:

- gradient descent, heavy ball, EMA momentum, Nesterov (optax's, and with the gradient at the look-ahead point):
  `sgd`, `momentum`, `ema-momentum`, `nag`, `nesterov-lookahead`;
- AdaGrad, RMSProp, AdaDelta in optax's form and the textbook's: `adagrad`, `adagrad-textbook`, ...;
- Adam and all else that optax ships, contrib included: their own names; `left_out()` says what is not there, and why;
- exact, Armijo, Wolfe, strong Wolfe and Goldstein searches: `steepest-descent`, `backtracking`, `wolfe`,
  `strong-wolfe`, `goldstein`;
- Newton, damped Newton, Newton-CG, L-BFGS: `newton`, `damped-newton`, `newton-cg`, `lbfgs`;
- coordinate descent, in turn, random, greedy, by blocks: `coordinate-descent`, `random-coordinate-descent`,
  `greedy-coordinate-descent`, `block-coordinate-descent`.

Examples
--------
Several numbers at once as axes of a sweep, a schedule's among them, and a search whose first trial
may be wrong by far:

>>> import jax, jax.numpy as jnp, optax, gdx
>>> hyperbola = gdx.problem(lambda key: jax.random.normal(key, (2,)), lambda w: 0.5 * (w[0] * w[1] - 1.0) ** 2)
>>> keys = jax.random.split(jax.random.key(0), 2)
>>> def warm(h):
...     decaying = gdx.schedules.inverse_time(h["step_size"], h["tau"])
...     return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(gdx.schedules.linear_warmup(decaying, 10)))
>>> points = {"step_size": jnp.full(4, 0.3), "tau": jnp.geomspace(1, 1e3, 4)}
>>> gdx.sweep(hyperbola, warm, num_steps=300)(points, keys).last_loss.shape
(4, 2)
>>> def quasi_newton(step_size):
...     search = gdx.optimizers.scale_by_wolfe(step_size, restarts=True)
...     return optax.chain(optax.scale_by_lbfgs(), optax.scale(-1.0), search)
>>> runs = gdx.sweep(hyperbola, quasi_newton, num_steps=200)([1e-6, 1.0, 1e6], keys)
>>> bool(gdx.converged(runs).all()), int(runs.search_failures.sum())
(True, 0)

gdx's optimizers train your model in your own loop. Those that evaluate the loss (searches, Newton) ask for
`value_fn=`, which Flax's `TrainState.apply_gradients` does not pass on; this does, and so does NNX's
`Optimizer.update`:

>>> from flax import linen as nn, nnx
>>> from flax.training.train_state import TrainState
>>> def flax_step(state, batch):
...     def loss(params):
...         return jnp.mean((state.apply_fn(params, batch) - batch**2) ** 2)
...     value, grad = jax.value_and_grad(loss)(state.params)
...     more = {"value": value, "grad": grad, "value_fn": loss}
...     updates, opt_state = state.tx.update(grad, state.opt_state, state.params, **more)
...     params = optax.apply_updates(state.params, updates)
...     return state.replace(step=state.step + 1, params=params, opt_state=opt_state), value
>>> inputs = jnp.linspace(-1, 1, 64)[:, None]
>>> model, search = nn.Sequential([nn.Dense(16), jnp.tanh, nn.Dense(1)]), gdx.optimizers.wolfe()
>>> state = TrainState.create(apply_fn=model.apply, params=model.init(jax.random.key(0), inputs), tx=search)
>>> state, before = jax.jit(flax_step)(state, inputs)
>>> state, after = jax.jit(flax_step)(state, inputs)
>>> bool(after < before)
True
>>> def nnx_step(model, optimizer, batch):
...     def loss(model):
...         return jnp.mean((model(batch) - batch**2) ** 2)
...     graph, _, rest = nnx.split(model, nnx.Param, ...)
...     value, grad = nnx.value_and_grad(loss)(model)
...     value_fn = lambda params: loss(nnx.merge(graph, params, rest, copy=True))
...     optimizer.update(model, grad, value=value, grad=grad, value_fn=value_fn)
...     return value
>>> model = nnx.Sequential(nnx.Linear(1, 16, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(16, 1, rngs=nnx.Rngs(1)))
>>> optimizer = nnx.Optimizer(model, search, wrt=nnx.Param)
>>> before, after = (nnx.jit(nnx_step)(model, optimizer, inputs) for _ in range(2))
>>> bool(after < before)
True
"""

from gdx.optimizers import table
from gdx.optimizers.catalog import Hyperparameter, OptimizerEntry, catalogue, family, left_out
from gdx.optimizers.table import *  # noqa: F403  (the table says what of gdx's own is public, beside its rows)

__all__ = ["Hyperparameter", "OptimizerEntry", "catalogue", "family", "left_out"]
__all__ += table.__all__
