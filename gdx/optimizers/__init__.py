"""Optimizers: optax's own, by name."""

from gdx.optimizers.catalog import OptimizerEntry, catalogue, family

__all__ = ["OptimizerEntry", "catalogue", "family"]
