"""What `help` says of results."""

import enum
import importlib
import inspect
import pkgutil
import pydoc
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import gdx
from gdx.records import record


def public_modules():
    names = [module.name for module in pkgutil.iter_modules(gdx.__path__, "gdx.") if module.name != "gdx.__main__"]
    return [gdx, *(importlib.import_module(name) for name in names)]


def public_classes(kind):
    """Classes of gdx that a public name leads to: of every folder's `__all__`, or of a file without one."""
    found = set()
    for module in public_modules():
        names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        values = [getattr(module, name) for name in names]
        found |= {
            value
            for value in values
            if isinstance(value, type) and issubclass(value, kind) and value.__module__.startswith("gdx.")
        }
    return sorted(found, key=lambda cls: cls.__qualname__)


def public_records():
    return public_classes(tuple)


@pytest.mark.parametrize("cls", public_records(), ids=lambda cls: cls.__name__)
def test_help_says_what_every_field_means(cls):
    for name in cls._fields:
        meaning = inspect.getdoc(getattr(cls, name))
        assert meaning, name
        assert not meaning.startswith("Alias for field number"), f"{name}: put a string below it, @record above all"


@pytest.mark.parametrize("cls", public_classes(enum.Enum), ids=lambda cls: cls.__name__)
def test_help_says_what_every_member_means(cls):
    shown = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    for member in cls:
        meaning = inspect.getdoc(member)
        assert meaning, member.name
        assert meaning != inspect.getdoc(cls), f"{member.name}: put a string below it, @legend above all"
        assert all(line.strip() in shown for line in meaning.splitlines()), member.name


def test_sections_that_functions_share_stand_before_their_examples():
    shown = inspect.getdoc(gdx.problems.booth)
    assert shown.index("Parameters\n") < shown.index("Returns\n") < shown.index("Examples\n")
    assert shown.count("Examples\n") == 1


def test_an_optimizer_of_optax_in_our_words_keeps_them():
    assert "obj_fn" in inspect.getdoc(gdx.optimizers.sophia).splitlines()[0]
    assert "learning_rate" in inspect.signature(gdx.optimizers.sophia).parameters


def test_no_module_of_one_file_shows_what_it_only_imports():
    for module in (gdx.observers, gdx.storage):
        assert all(getattr(getattr(module, name), "__module__", "gdx").startswith("gdx") for name in module.__all__)
        defined = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        assert {name for name in defined if not name.startswith("_")} <= set(module.__all__)


def test_meanings_are_the_strings_below_the_fields():
    assert gdx.Edge.too_slow_below.__doc__.startswith("Smallest step size tested at which some run succeeds")
    # One that goes over several lines, with the indentation of its first.
    assert "\nand in the last quarter of the horizon; 0 where" in gdx.Runs.last_quarter_rise.__doc__
    assert len(public_records()) > 40


def test_a_field_is_read_as_before():
    edge = gdx.Bracket(1.0, 2.0)
    assert (edge.lower, edge[1], edge._replace(lower=0.5)) == (1.0, 2.0, (0.5, 2.0))
    assert jax.tree.leaves(edge) == [1.0, 2.0]


def test_a_record_without_source_is_one_all_the_same():
    namespace = {"__name__": "gdx.checks"}
    exec("from typing import NamedTuple\nclass Hidden(NamedTuple):\n    size: object\n    '''Seen.'''\n", namespace)
    hidden = record(namespace["Hidden"])
    assert hidden.size.__doc__ == "Alias for field number 0"
    assert repr(hidden(np.ones(3))) == "Hidden(size=float64[3])"


@pytest.mark.slow
def test_a_zipped_package_has_its_meanings_too(tmp_path):
    package = Path(gdx.__file__).parent
    with zipfile.ZipFile(tmp_path / "gdx.zip", "w") as archive:
        for path in package.rglob("*.py"):
            archive.write(path, path.relative_to(package.parent))
    code = "import gdx; print(gdx.__file__, gdx.Edge.horizon.__doc__)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'gdx.zip')!r}); {code}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "gdx.zip" in said
    assert "Steps of every run" in said
