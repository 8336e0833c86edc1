"""Every benchmark runs at toy size, so that none rots."""

import pathlib
import subprocess
import sys

import pytest

BENCHES = sorted(
    path
    for path in (pathlib.Path(__file__).parent.parent / "bench").glob("*.py")
    if path.stem not in ("timing", "models")
)


# These compile for long.
LONG = ("engine", "optimizers", "margin", "truth")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else ()) for path in BENCHES],
    ids=lambda path: path.stem,
)
def test_a_benchmark_runs_at_toy_size(path):
    done = subprocess.run([sys.executable, str(path), "--toy"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bar" in done.stdout
