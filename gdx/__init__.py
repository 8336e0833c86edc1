"""gdx maps where training stops converging: critical step sizes of any JAX loss under any optax optimizer.

A family is any callable `step_size -> optax transformation`. `gdx.sweep` runs one at thousands of step sizes and
starts at once, `gdx.critical_step_size` finds where the runs' verdict changes, `gdx.curvature_threshold` says what
theory expects. `gdx.stability` puts all of it to work on a training job, `gdx.autopsy` on one that blew up,
`gdx.edge_margin` inside a running one. What each package holds is told by its own docstring, as in
`help(gdx.problems)`; beside those that are names here there are `gdx.edges`, `gdx.maps`, `gdx.sweeps`,
`gdx.stepping`, `gdx.verdicts` and `gdx.reports`.

Examples
--------
Other examples of gdx stand alone or say which one they continue; many continue this one. All are run in float64.

>>> import functools
>>> import jax, jax.numpy as jnp, numpy as np, optax, gdx
>>> jax.config.update("jax_enable_x64", True)  # edges to more than six digits want float64
>>> problem = gdx.problems.quadratic([1.0, 3.0, 10.0])
>>> family = functools.partial(optax.sgd, momentum=0.9)  # step_size -> optax transformation
>>> run = gdx.sweep(problem, family, num_steps=1_000)  # compiled on its first call
>>> keys = jax.random.split(jax.random.key(0), 2)
>>> step_sizes = [0.1, 0.37, 0.39, 1.0]
>>> runs = run(step_sizes, keys)  # facts about every run, leaves [4, 2]
>>> gdx.converged(runs)
array([[ True,  True],
       [ True,  True],
       [False, False],
       [False, False]])
>>> edge = gdx.critical_step_size(run=run, keys=keys)  # refined, and without the shift of a finite horizon
>>> round(edge.estimate.value, 6)
0.38
>>> round(gdx.curvature_threshold(family) / problem.known.min_sharpness, 6)  # theory
0.38

Notes
-----
What can be trusted, and what not. Where a test or a benchmark holds a statement it is named.

- Quadratics: both edges within 1e-3 of theory at 20,000 steps, for gradient descent, heavy ball and Nesterov
  (tests/test_theory.py). Two-layer factorizations and whitened networks: the gradient norm beyond the edge follows
  the law to 1e-8 (the same).
- All optimizers of the catalogue equal a plain optax loop; gdx's own equal the textbook's formula in NumPy at 1e-12
  (tests/test_conformance.py).
- `gdx verify` holds closed forms against measurements at random parameter values; `--seed` draws others.
- A finite run sees a shifted edge: about `ln(1/tolerance) / (2 num_steps)` too low for gradient descent, and too high
  where runs pass close to a minimum on their way out. Estimates do not: bench/truth.py holds them to plain optax
  loops on random losses that nobody tuned for, and none is given that the runs contradict. Where a start's answers
  alternate there is mostly none; batches, schedules, Adam and float32 get none.
- "trains" is held to plain optax runs of 14 small networks by bench/networks.py, within 1.5x; near a boundary that
  single starts cross by chance it may be off by more, and networks may learn again far beyond it. `gdx.stability` is
  held to the same networks by bench/peers.py.
- A line search that finds nothing leaves the parameters finite and counts in `runs.search_failures`. optax's own
  searches (`backtracking`, `strong-wolfe`) pass on a gradient that is not finite.
- What an optimizer provably never moves (`optax.set_to_zero` on a leaf, a mask of zeros) counts in no gradient norm,
  so that the rest can converge. `rbg` keys start runs where they start alone. Norms neither vanish nor overflow in
  float32.
- What cannot be computed is refused before anything is: one `ValueError` that says whose the fault is (`loss`,
  `family`, `observers['mine']`) with the original as its cause. Horizons go up to 2^30 steps.
- A sweep uses every core of a CPU. A lane's bits do not depend on its neighbours, its place, the number of lanes or
  of workers; they may depend on the kind of device and the number of cores. `gdx.sweep` says what is guaranteed.
- Optimizers that divide by running second moments have no prediction before training, since their threshold belongs
  to the Hessian as their preconditioner bends it; `gdx edge` and `gdx.edge_margin` read that once there is one.
- `gdx transition` tells where runs came to rest: at which losses, and whether curvature is positive there.
- A map's bound on what was filled in wrongly covers the truth on random maps, islands that its coarse grid misses and
  fractals among them (tests/test_refining.py). It is about answers on the map's own grid at its horizon.
- Bars of Lyapunov exponents cover closed forms in at least 90 of 100 random cases from 1,000 steps on
  (bench/exponents.py); they know nothing of transients longer than the horizon. Period doublings are given to rounding,
  where runs on either side show the periods (tests/test_cascades.py).
- What takes longer than two seconds shows a bar on a terminal; `progress=False` turns it off, a function of your own
  takes its place.
"""

from gdx import curvature, observers, optimizers, plots, problems, responses, schedules, storage, studies
from gdx.curvature import (
    Eigenpairs,
    EigenStatus,
    Flip,
    FlipKind,
    OneStepEdge,
    OneStepStatus,
    Sharpness,
    flip,
    hvp,
    one_step_edge,
    sharpness,
    top_eigenpairs,
)
from gdx.edges import Bracket, Edge, EdgeStatus, Estimate, EstimateKind, critical_step_size, edge_of_start
from gdx.maps import Axis, EdgeCurve, PhaseMap, edge_curve, phase_map
from gdx.margin import EdgeMarginState, edge_margin
from gdx.observers import Observer
from gdx.problems import Known, Problem, problem, stateful_problem
from gdx.responses import critical_step, curvature_threshold, preconditioner
from gdx.stepping import TrainState, TrainStep, View, train_step
from gdx.studies import (
    Autopsy,
    Stability,
    StepTable,
    Trajectory,
    Verification,
    autopsy,
    stability,
    step_table,
    trajectory,
    verify,
)
from gdx.sweeps import Interrupted, Runs, Stop, Stopping, Sweep, sweep
from gdx.verdicts import (
    Answer,
    TrainingVerdict,
    Verdict,
    answers,
    bounded,
    converged,
    improved,
    stable,
    training_verdicts,
    trains,
    verdicts,
)

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Autopsy",
    "Axis",
    "Bracket",
    "Edge",
    "EdgeCurve",
    "EdgeMarginState",
    "EdgeStatus",
    "EigenStatus",
    "Eigenpairs",
    "Estimate",
    "EstimateKind",
    "Flip",
    "FlipKind",
    "Interrupted",
    "Known",
    "Observer",
    "OneStepEdge",
    "OneStepStatus",
    "PhaseMap",
    "Problem",
    "Runs",
    "Sharpness",
    "Stability",
    "StepTable",
    "Stop",
    "Stopping",
    "Sweep",
    "TrainState",
    "TrainStep",
    "TrainingVerdict",
    "Trajectory",
    "Verdict",
    "Verification",
    "View",
    "answers",
    "autopsy",
    "bounded",
    "converged",
    "critical_step",
    "critical_step_size",
    "curvature",
    "curvature_threshold",
    "edge_curve",
    "edge_margin",
    "edge_of_start",
    "flip",
    "hvp",
    "improved",
    "observers",
    "one_step_edge",
    "optimizers",
    "phase_map",
    "plots",
    "preconditioner",
    "problem",
    "problems",
    "responses",
    "schedules",
    "sharpness",
    "stability",
    "stable",
    "stateful_problem",
    "step_table",
    "storage",
    "studies",
    "sweep",
    "top_eigenpairs",
    "train_step",
    "training_verdicts",
    "trains",
    "trajectory",
    "verdicts",
    "verify",
]
