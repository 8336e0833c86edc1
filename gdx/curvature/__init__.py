"""Curvature of a loss, from products with its Hessian alone.

- How curved is the loss here? `gdx.sharpness`, `gdx.top_eigenpairs`, `gdx.hvp`: any pytree, batched, preconditioned.
- How much curvature does the optimizer stand? `gdx.curvature_threshold(family)`: 2 for gradient descent, 3.8 with
  momentum 0.9, 38 for Adam, from its measured impulse response.
- And with weight decay? `gdx.critical_step(family, sharpness)`.
- And with step sizes, masks or frozen leaves of its own for some parameters? `gdx.curvature_threshold(family,
  params)`, of the Hessian between `gdx.preconditioner`'s roots; `gdx.edge_margin` does it all.
- What is Adam dividing by right now? `gdx.preconditioner(family, opt_state, params)`, read off the state of any such
  optimizer.
- And beyond the edge, do runs hop on or leave? `gdx.flip(loss, params)` at a minimum.
- Without second derivatives? `gdx.one_step_edge(loss, params, update)`: forward passes only.
- All of it, for one start? `gdx.step_table(problem, family, key, num_steps=5_000)`, or `gdx edge`.
"""

from gdx.curvature.eigenpairs import Eigenpairs, EigenStatus, Sharpness, sharpness, top_eigenpairs
from gdx.curvature.flipping import Flip, FlipKind, flip
from gdx.curvature.one_step import OneStepEdge, OneStepStatus, one_step_edge
from gdx.curvature.products import hvp

__all__ = [
    "EigenStatus",
    "Eigenpairs",
    "Flip",
    "FlipKind",
    "OneStepEdge",
    "OneStepStatus",
    "Sharpness",
    "flip",
    "hvp",
    "one_step_edge",
    "sharpness",
    "top_eigenpairs",
]
