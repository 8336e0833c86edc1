"""Every public name has an example in its docstring, and every example does what it says."""

import ast
import doctest
import importlib
import inspect
import io
import operator
import pathlib
import pkgutil
import re
import tempfile
import types

import jax
import pytest

import gdx

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = pathlib.Path(gdx.__file__).parent
CONTINUES = re.compile(r"Continues the example of `([\w.]+)`")
# Where examples compile for a second or sweep for several, and all that continue them.
SLOW = (
    "gdx.curvature.",
    "gdx.maps.following.",
    "gdx.maps.mapping.",
    "gdx.edges.cascades.",
    "gdx.observers.lyapunov.",
    "gdx.observers.observer.",
    "gdx.observers.orbits.",
    "gdx.optimizers.coordinates.",
    "gdx.optimizers.line_search.",
    "gdx.optimizers.newton_",
    "gdx.optimizers.optax_methods.",
    "gdx.problems.frameworks.",
    "gdx.problems.networks.",
    "gdx.stepping.ordering.",
    "gdx.studies.",
    "gdx.sweeps.runs.Stopping",
)
SLOW_PACKAGES = ("gdx.edges", "gdx.observers", "gdx.optimizers", "gdx.problems", "gdx.studies")
"""Those whose own docstring sweeps."""


def modules():
    """Every module of gdx by name, but for the command line, which has help of its own."""
    names = [found.name for found in pkgutil.walk_packages(gdx.__path__, "gdx.")]
    return {"gdx": gdx} | {
        name: importlib.import_module(name) for name in names if not name.startswith(("gdx.cli", "gdx.__main__"))
    }


def documented(module):
    """Docstring and line of everything in a module's source that has one, by dotted name."""
    found = {}

    def look(body, prefix):
        for node, below in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                if ast.get_docstring(node):
                    found[f"{prefix}.{node.name}"] = ast.get_docstring(node), node.lineno
                look(node.body, f"{prefix}.{node.name}")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and isinstance(getattr(below.value, "value", None), str):
                    found[f"{prefix}.{target.id}"] = inspect.cleandoc(below.value.value), below.lineno

    tree = ast.parse(pathlib.Path(module.__file__).read_text())
    if ast.get_docstring(tree):
        found[module.__name__] = ast.get_docstring(tree), 1
    look(tree.body, module.__name__)
    return found


MODULES = modules()
DOCSTRINGS = {name: docstring for module in MODULES.values() for name, docstring in documented(module).items()}
EXAMPLES = {name: docstring for name, docstring in DOCSTRINGS.items() if ">>>" in docstring[0]}


def origin(name, value):
    """Dotted name under which something was defined."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    own = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    if own in DOCSTRINGS:
        return own
    homes = [home for home, module in MODULES.items() if f"{home}.{name}" in DOCSTRINGS and vars(module)[name] is value]
    return f"{homes[0]}.{name}" if homes else own


def public_names():
    """Where every name in any `__all__` was defined."""
    return {
        f"{module.__name__}.{name}": origin(name, getattr(module, name))
        for module in MODULES.values()
        for name in getattr(module, "__all__", ())
        if not isinstance(getattr(module, name), types.ModuleType)
    }


def example_before(name):
    """What an example continues, None where it stands alone."""
    continued = CONTINUES.search(EXAMPLES[name][0])
    if continued is None:
        return None
    *_, last = continued[1].split(".")
    return "gdx" if last == "gdx" else origin(last, operator.attrgetter(continued[1].removeprefix("gdx."))(gdx))


def first_example(name):
    """Where a chain of examples begins."""
    while before := example_before(name):
        name = before
    return name


def groups():
    """Examples with the same beginning, and by packages those which stand alone, so that nothing is swept twice."""
    by_start, grouped = {}, {}
    for name in EXAMPLES:
        by_start.setdefault(first_example(name), []).append(name)
    for start, names in by_start.items():
        key = start if len(names) > 1 else ".".join(start.split(".")[:2])
        is_slow = start.startswith(SLOW) or start in SLOW_PACKAGES
        grouped.setdefault((key, is_slow), []).extend(names)
    return [
        pytest.param(names, id=key, marks=[pytest.mark.slow] if is_slow else [])
        for (key, is_slow), names in grouped.items()
    ]


def test_every_public_name_has_an_example_with_a_result():
    names = public_names()
    assert len(names) > 230
    parser = doctest.DocTestParser()

    def has_result(name):
        return name in EXAMPLES and any(one.want or one.exc_msg for one in parser.get_examples(EXAMPLES[name][0]))

    without = sorted(name for name, defined in names.items() if not has_result(defined))
    assert not without, f"no example with a result in the docstring of {', '.join(without)}"


def test_every_example_is_seen_by_help():
    """A decorator that loses a docstring loses its example."""
    for name, defined in public_names().items():
        value = operator.attrgetter(name.rpartition(".")[2])(MODULES[name.rpartition(".")[0]])
        if defined in EXAMPLES and (inspect.isfunction(value) or inspect.isclass(value)):
            shown = inspect.getdoc(value)
            assert doctest.DocTestParser().get_examples(EXAMPLES[defined][0])[0].source in shown.replace("... ", ""), (
                name
            )


@pytest.mark.parametrize("names", groups())
def test_examples_do_what_they_say(names, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told, runner, after = io.StringIO(), doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS), {}

    def run(name):
        if name not in after:
            before = example_before(name)
            docstring, line = EXAMPLES[name]
            namespace = {} if before is None else run(before)
            test = doctest.DocTestParser().get_doctest(docstring, namespace, name, f"{name}, line {line} and on", 0)
            runner.run(test, out=told.write, clear_globs=False)
            after[name] = test.globs
        return after[name]

    # As users have it; Flax multiplies a bias of lower rank into its activations.
    with jax.numpy_rank_promotion("allow"):
        for name in names:
            run(name)
    from matplotlib import pyplot

    pyplot.close("all")
    assert runner.summarize(verbose=False).failed == 0, told.getvalue()
