"""The README's Python runs, in order, in one namespace."""

import pathlib
import re

import jax
import pytest

import gdx

README = pathlib.Path(__file__).parent.parent / "README.md"


@pytest.mark.usefixtures("quick_compilation_here")
def test_the_python_of_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    namespace = {}
    # Flax multiplies a bias of lower rank into its activations.
    with jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(compile(block, str(README), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "BRACKETED" in printed
    assert "theory: 0.38" in printed


def test_the_pictures_of_the_readme_exist_and_are_small():
    names = re.findall(r"!\[.*?\]\((.*?)\)", README.read_text())
    assert len(names) == 2
    for name in names:
        assert (README.parent / name).stat().st_size < 200_000


def test_the_readme_promises_no_optimizer_that_does_not_exist():
    for name in re.findall(r"`([a-z-]+)`", README.read_text().split("| | where")[1].split("A run may")[0]):
        assert name in gdx.optimizers.catalogue(), name
