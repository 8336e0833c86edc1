"""Optimizers: what optax lacks, and all of optax's by name.

Floating hyperparameters of gdx's own may be traced, and so be swept. A concrete value out of range is refused; a traced
one has no value yet and cannot be checked.
"""

from gdx.optimizers import table
from gdx.optimizers.catalog import Hyperparameter, OptimizerEntry, catalogue, family, left_out
from gdx.optimizers.table import *  # noqa: F403  (the table says what of gdx's own is public, beside its rows)

__all__ = ["Hyperparameter", "OptimizerEntry", "catalogue", "family", "left_out"]
__all__ += table.__all__
