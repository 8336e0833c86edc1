"""Strict settings for all tests, chosen before anything is traced."""

import os
import signal

os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


def _without_optimizations():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile a module's tests without XLA's optimizations, a quarter of the time, where they compile for seconds to
    run for milliseconds. Tests of bits and of long runs do without."""
    yield from _without_optimizations()


@pytest.fixture
def quick_compilation_here():
    """Do so for one test."""
    yield from _without_optimizations()


@pytest.fixture
def hears_ctrl_c():
    """Let Ctrl-C be heard, here and in children, where the caller had it ignored as for a script's background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
