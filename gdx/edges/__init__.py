"""Where along the step-size axis the verdict changes: every crossing, refined, and what an endless run would see.

An edge is reported with its bracket, its criterion and its horizon, and keeps every run of the search
(`edge.step_sizes`, `edge.runs`), so that any other criterion can be asked of them. The boundary is often not
monotone: `edge.crossings` has all of it, and `edge.spread` says by which factor the starts' own boundaries differ. A
run that is merely unfinished is undecided and never counts as a failure.

A bracket is only as good as its horizon; `edge.estimate` is what runs without one would see, with an error bar: from
the eigenvalues of the step where the runs below the edge come to rest, from the cycles above it, or from both sides
of a basin. Whatever road a number has come by, the runs on both sides of it must agree; where they do not, there is
none, and `edge.estimate.reason` says why.

Examples
--------
An edge along any line through several hyperparameters, compiled once for all lines. With momentum b gradient descent
stands (1 + b) times the step.

>>> import jax, optax, gdx
>>> def heavy_ball(h):
...     return optax.sgd(h["step_size"], momentum=h["momentum"])
>>> run = gdx.sweep(gdx.problems.quadratic([1.0, 10.0]), heavy_ball, num_steps=1_000)
>>> keys = jax.random.split(jax.random.key(1), 2)
>>> for momentum in (0.0, 0.5):
...     line = lambda t, momentum=momentum: {"step_size": t, "momentum": momentum}
...     edge = gdx.critical_step_size(run=run, keys=keys, along=line)
...     print(momentum, round(edge.estimate.value, 6))
0.0 0.2
0.5 0.3

`gdx.edge_of_start(edge, 0)` is that of one start alone; `each_start=True` refines every start's own.
"""

from gdx.edges.cascades import Cascade, Cycles, Doubling, make_cycles, period_doublings
from gdx.edges.edge import Bracket, Edge, EdgeStatus
from gdx.edges.endless.estimates import Estimate, EstimateKind
from gdx.edges.reading import edge_of_start
from gdx.edges.scanning import critical_step_size
from gdx.edges.starting import WIDE_SCAN

__all__ = [
    "WIDE_SCAN",
    "Bracket",
    "Cascade",
    "Cycles",
    "Doubling",
    "Edge",
    "EdgeStatus",
    "Estimate",
    "EstimateKind",
    "critical_step_size",
    "edge_of_start",
    "make_cycles",
    "period_doublings",
]
