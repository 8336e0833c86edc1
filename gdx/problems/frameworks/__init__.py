"""Models of Flax, Haiku and Equinox, with all that they carry from step to step, as problems.

One shape for all: a model, a loss of the model and a batch, batches, and, where runs are to be judged by something
else than their batches, a `full_loss` of the model. The packages are imported where they are used.
"""

from gdx.problems.frameworks.equinox import from_equinox
from gdx.problems.frameworks.haiku import from_haiku
from gdx.problems.frameworks.linen import from_flax
from gdx.problems.frameworks.nnx import from_nnx

__all__ = ["from_equinox", "from_flax", "from_haiku", "from_nnx"]
