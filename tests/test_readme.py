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
    assert len(names) == 3
    for name in names:
        assert (README.parent / name).stat().st_size < 200_000


def test_no_docstring_promises_an_optimizer_that_does_not_exist():
    places = gdx.optimizers.__doc__.split("Where to find it")[1].split("Examples")[0]
    names = [name for name in re.findall(r"`([a-z-]+)`", places) if name != "catalogue"]
    assert len(names) >= 20
    for name in names:
        assert name in gdx.optimizers.catalogue(), name


def test_the_commands_of_the_readme_exist_and_take_these_options():
    """Each line is read as the command line reads it, but nothing is run."""
    import typer
    from typer.testing import CliRunner

    from gdx.cli import app

    commands = typer.main.get_command(app).commands
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(), re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines() if line.startswith("gdx ")]
    lines = [line.split("#")[0].split() for line in shown]
    assert len(lines) >= 6
    for _, name, *arguments in lines:
        options = {option for one in commands[name].params for option in one.opts}
        assert {word for word in arguments if word.startswith("--")} <= options, (name, arguments)
    assert CliRunner().invoke(app, ["list"]).exit_code == 0


def test_help_is_where_the_readme_says():
    import pydoc

    asked = re.findall(r"help\(\"?([\w.]+)\"?\)", README.read_text())
    assert len(asked) > 10
    for name in asked:
        assert pydoc.resolve(name)
