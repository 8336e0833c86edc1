"""Every benchmark runs at toy size, so that none rots."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

BENCHES = sorted(
    path
    for path in (pathlib.Path(__file__).parent.parent / "bench").glob("*.py")
    if path.stem not in ("timing", "models")
)


# These compile for long.
LONG = (
    "autopsy",
    "engine",
    "heavy_steps",
    "optimizers",
    "margin",
    "truth",
    "peers",
    "trainability",
    "loops",
    "edge_accuracy",
    "exponents",
    "flips",
    "map_accuracy",
    "maps",
    "networks",
)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else ()) for path in BENCHES],
    ids=lambda path: path.stem,
)
def test_a_benchmark_runs_at_toy_size(path):
    done = subprocess.run([sys.executable, str(path), "--toy"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bar" in done.stdout


def test_a_child_is_not_charged_with_its_parents_memory():
    # 0.6 GiB, more than a process that has imported JAX takes.
    ballast = np.ones(80_000_000)
    code = f"import sys; sys.path.insert(0, {str(BENCHES[0].parent)!r}); import timing; print(timing.resident_gib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.02 < float(done.stdout) < 0.55
    assert ballast[-1] == 1
