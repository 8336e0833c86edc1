"""Imports point one way, and importing gdx stays light."""

import ast
import pathlib
import subprocess
import sys

import gdx

LAYERS = [
    {"wording"},
    {"checks", "trees", "records", "progress", "rewriting"},
    {"problems", "optimizers", "schedules", "curvature", "observers", "checkpoints"},
    {"responses"},
    {"margin"},
    {"stepping"},
    {"sweeps"},
    {"verdicts"},
    {"exploring"},
    {"edges"},
    {"maps"},
    {"studies"},
    {"storage", "plots", "reports"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PACKAGE = pathlib.Path(gdx.__file__).parent


def gdx_imports(path):
    """Top-level modules of gdx that a file imports, however the import is written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            parts = (node.module or "").split(".")
            if parts[0] == "gdx":
                yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gdx."))


def test_every_module_has_a_layer():
    names = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert names - {"__init__", "__main__"} <= set(RANK)


def test_imports_point_downwards():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for there in gdx_imports(path):
            if here in RANK and there in RANK and there != here and RANK[there] >= RANK[here]:
                wrong.append(f"{path.name} imports {there}")
    assert not wrong


def test_importing_gdx_loads_nothing_of_the_lab_and_leaves_jax_as_it_is():
    code = """
import jax, sys
before = dict(jax.config.values)
import gdx
heavy = {"matplotlib", "xarray", "typer", "rich", "orbax", "sklearn", "scipy.optimize", "chex", "h5py"}
heavy |= {"flax", "haiku", "equinox"}
loaded = heavy & set(sys.modules)
assert not loaded, loaded
assert dict(jax.config.values) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_documented():
    for name in gdx.__all__:
        assert getattr(gdx, name).__doc__, name
