"""The README's Python runs, in order, in one namespace."""

import pathlib
import re

import jax

README = pathlib.Path(__file__).parent.parent / "README.md"


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


def test_the_picture_of_the_readme_exists_and_is_small():
    (name,) = re.findall(r"!\[.*?\]\((.*?)\)", README.read_text())
    assert (README.parent / name).stat().st_size < 200_000
