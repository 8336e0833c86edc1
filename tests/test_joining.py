"""Whoever adds an optimizer, a landscape, an observer, a study or a benchmark is told in one sentence what is left."""

import ast
import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from own_optimizers import OWN_OPTIMIZERS

import gdx
from gdx.optimizers.table import TABLE

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = pathlib.Path(__file__).parent.parent
OPTIMIZERS = gdx.optimizers.catalogue()
LANDSCAPES = gdx.problems.landscape_catalogue()
TABLE_FILE, LANDSCAPE_FILE = "gdx/optimizers/table.py", "gdx/problems/landscapes.py"
# Optimizers of gdx's own that are held to something else than a textbook's iterates in NumPy.
OTHER_REFERENCES = {
    "backtracking": "optax's own parts; tests/test_rates.py holds its conditions",
    "strong-wolfe": "optax's own parts; tests/test_rates.py holds its conditions",
    "lbfgs": "optax's own, whose search ends at rest; tests/test_catalogue.py holds it to optax's iterates",
    "sophia": "optax's own, under another keyword",
    "random-coordinate-descent": "draws from a key of JAX; tests/test_first_order.py holds each step",
}


def none_of(forgotten):
    """Fail with a sentence a line."""
    forgotten = list(forgotten)
    assert not forgotten, "\n" + "\n".join(forgotten)


def public_functions(folder, result):
    """File and definition of every public top-level function below a folder whose result begins so, or is not told."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            is_public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if is_public and (node.returns is None or ast.unparse(node.returns).startswith(result)):
                yield path.relative_to(ROOT), node


def takes_a_transformation(node):
    first = (node.args.posonlyargs + node.args.args)[:1]
    return any(one.annotation is not None and "Transformation" in ast.unparse(one.annotation) for one in first)


def constructor(make):
    """Function that a row calls, without what is fixed of it."""
    return getattr(make, "func", make)


def is_own(make):
    return inspect.getsourcefile(constructor(make)).startswith(str(pathlib.Path(gdx.__file__).parent))


OWN = [name for name, entry in OPTIMIZERS.items() if is_own(entry.make)]


def test_every_public_optimizer_is_exported_and_has_a_row():
    forgotten = []
    with_row = {constructor(entry.make).__name__ for entry in OPTIMIZERS.values() if is_own(entry.make)}
    for path, node in public_functions("gdx/optimizers", "optax.GradientTransformation"):
        if takes_a_transformation(node):
            continue
        if node.name not in gdx.optimizers.__all__:
            forgotten.append(f"{path}: {node.name} is not exported; import it in {TABLE_FILE}, name it in its __all__")
        if not node.name.startswith("scale_by_") and node.name not in with_row:
            forgotten.append(f"{path}: {node.name} has no row; add one to a group of {TABLE_FILE}")
    none_of(forgotten)


def test_every_row_of_an_optimizer_is_whole_and_its_constructor_exported():
    forgotten, seen = [], set()
    for row in (row for rows in TABLE.values() for row in rows):
        if row.name in seen:
            forgotten.append(f"{TABLE_FILE}: two rows are named {row.name!r}; rename one")
        seen.add(row.name)
        for field in ("line", "source"):
            if not getattr(row, field):
                forgotten.append(f"{TABLE_FILE}: the row of {row.name!r} has no {field}; write one")
        name = constructor(row.make).__name__
        if is_own(row.make) and name not in gdx.optimizers.__all__:
            forgotten.append(f"{TABLE_FILE}: {name} has the row {row.name!r} and no export; name it in __all__")
        for number in set(row.ranges) - set(OPTIMIZERS[row.name].hyperparameters):
            forgotten.append(f"{TABLE_FILE}: the row of {row.name!r} has a range for {number}, which it does not take")
    none_of(forgotten)


def test_every_optimizer_of_gdx_has_a_textbook_to_be_held_to():
    none_of(
        f"tests/own_optimizers.py: {name} has no reference in NumPy and so no test of conformance; write the "
        f"textbook's iterates as a generator, and a row for them"
        for name in OWN
        if name not in OWN_OPTIMIZERS and name not in OTHER_REFERENCES
    )


@pytest.mark.parametrize(
    "name", [name if name in OWN else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS]
)
def test_a_threshold_is_claimed_where_there_is_one(name):
    try:
        threshold, why = gdx.curvature_threshold(gdx.optimizers.family(name)), ""
    except ValueError as error:
        threshold, why = None, str(error)
    claimed = OPTIMIZERS[name].has_threshold
    found = f"there is none ({why})" if threshold is None else f"its threshold is {threshold:.6g}"
    assert claimed == (threshold is not None), (
        f"{TABLE_FILE}: the row of {name!r} says has_threshold={claimed}, but {found}; say {not claimed}"
    )
    assert claimed or re.fullmatch(r"family: [^\n]+", why), "a refusal is one sentence"


def test_every_landscape_is_exported_and_has_a_row_that_is_whole():
    forgotten, made = [], {row.make: row for row in LANDSCAPES.values()}
    for path, node in public_functions(LANDSCAPE_FILE.rpartition("/")[0], "Problem"):
        if str(path) != LANDSCAPE_FILE:
            continue
        make = getattr(gdx.problems.landscapes, node.name)
        if node.name not in gdx.problems.__all__:
            forgotten.append(f"{path}: {node.name} is not exported; name it in __all__")
        if make not in made:
            forgotten.append(f"{path}: {node.name} has no row; write {node.name.upper()} = Landscape(...) beneath it")
        elif made[make].name != node.name.replace("_", "-"):
            forgotten.append(f"{path}: the row of {node.name} is named {made[make].name!r}; name it as its function")
    for name, row in LANDSCAPES.items():
        left, right, bottom, top = row.window
        points = [row.start, *row.minima, *([row.saddle] if row.saddle else [])]
        if not (left < right and bottom < top):
            forgotten.append(f"{LANDSCAPE_FILE}: the window of {name!r} is empty; write it as left, right, bottom, top")
        elif not all(left < x < right and bottom < y < top for x, y in points):
            forgotten.append(f"{LANDSCAPE_FILE}: {name!r} starts or ends outside its window; widen the window")
        if not len(row.minima) and row.saddle is None:
            forgotten.append(f"{LANDSCAPE_FILE}: the row of {name!r} has neither minima nor a saddle; give it one")
        if len(row.minima) and row.make().known is None:
            forgotten.append(f"{LANDSCAPE_FILE}: {name!r} has minima and no min_sharpness; hand it to surface(...)")
        if not row.line or row.num_steps < 1:
            forgotten.append(f"{LANDSCAPE_FILE}: the row of {name!r} has no line or no num_steps; write both")
    none_of(forgotten)


def test_the_minima_of_a_landscape_are_minima_and_its_saddle_is_none():
    points = {
        name: np.reshape([*row.minima, *([row.saddle] if row.saddle else [])], (-1, 2))
        for name, row in LANDSCAPES.items()
    }

    def loss_of(name):
        problem = LANDSCAPES[name].make()
        return lambda point: problem.loss(point, (), None)[0]

    @jax.jit
    def derivatives(points):
        losses = {name: loss_of(name) for name in points}
        return {name: [jax.vmap(of(losses[name]))(points[name]) for of in (jax.grad, jax.hessian)] for name in points}

    forgotten = []
    for name, (gradients, hessians) in derivatives(points).items():
        lowest = np.linalg.eigvalsh(hessians)[:, 0]
        for index, (point, gradient, curvature) in enumerate(zip(points[name], gradients, lowest, strict=True)):
            kind = "minimum" if index < len(LANDSCAPES[name].minima) else "saddle"
            what = f"{LANDSCAPE_FILE}: the {kind} {tuple(map(float, point))} of {name!r}"
            if not np.max(np.abs(gradient)) < 1e-10:
                forgotten.append(f"{what} is none: the gradient there is {gradient.tolist()}; solve for it again")
            elif (curvature > 0) != (kind == "minimum"):
                forgotten.append(f"{what} is none: the least curvature there is {float(curvature):.3g}")
    none_of(forgotten)


def test_every_constructor_of_a_problem_is_exported():
    none_of(
        f"{path}: {node.name} makes a problem and is not exported; import and name it in gdx/problems/__init__.py"
        for path, node in public_functions("gdx/problems", "Problem")
        if node.name not in gdx.problems.__all__
        and node.name not in ("surface", "assembled")
        and str(path) != LANDSCAPE_FILE
    )


def test_every_named_problem_says_what_it_is_and_is_made_by_something_public():
    forgotten = []
    for name, entry in gdx.problems.catalogue().items():
        made_by = constructor(entry.make).__name__
        if not entry.line:
            forgotten.append(f"gdx/problems/catalog.py: the row of {name!r} has no line; say what it is")
        if getattr(gdx.problems, made_by, None) is not constructor(entry.make):
            forgotten.append(
                f"gdx/problems/catalog.py: {name!r} is made by {made_by}, which gdx.problems does not export"
            )
    none_of(forgotten)


def observers_made():
    """File, name and the docstring beneath of every observer that a module of gdx makes."""
    for path in sorted((ROOT / "gdx").rglob("*.py")):
        body = ast.parse(path.read_text()).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.Assign) and re.match(r"(\w+\.)*Observer\(", ast.unparse(node.value)):
                says = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                yield path.relative_to(ROOT), ast.unparse(node.targets[0]), says


def test_every_observer_is_one_of_gdx_observers_and_says_what_it_watches():
    forgotten, home = [], pathlib.Path("gdx/observers")
    for path, name, says in observers_made():
        if path.parent != home or name.startswith("_"):
            forgotten.append(f"{path}: the observer {name} is not exported; move it to {home} under a public name")
        if not says:
            forgotten.append(f"{path}: the observer {name} does not say what it watches; write a docstring beneath it")
    none_of(forgotten)


@pytest.mark.parametrize("name", [name for name, one in vars(gdx.observers).items() if isinstance(one, gdx.Observer)])
def test_an_observer_keeps_its_shapes_and_sums_up_in_arrays(name):
    observer = getattr(gdx.observers, name)
    train = gdx.train_step(gdx.problems.quadratic((1.0, 3.0)), gdx.optimizers.family("sgd"))

    def watched(step_size, key):
        state = train.init(step_size, key)
        _, view = train.update(state)
        before = observer.init(state.params)
        return before, observer.update(before, view), observer.summarise(before)

    before, after, summary = jax.eval_shape(watched, 0.1, jax.random.key(0))
    same = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), before)
    assert same == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after), (
        f"gdx/observers: {name}.update changes the shapes or types of its state; cast what it returns"
    )
    assert jax.tree.leaves(summary), f"gdx/observers: {name}.summarise returns nothing; return arrays"


def shown_text():
    """What a user sees first: README, command line, tables and pictures, notebooks."""
    files = [ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")]
    for folder in ("cli", "reports", "plots"):
        files += (ROOT / "gdx" / folder).glob("*.py")
    return "\n".join(path.read_text() for path in files)


def test_every_study_is_exported_shown_and_tested():
    forgotten, folder, shown = [], ROOT / "gdx" / "studies", shown_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py") if path.name != "test_joining.py")
    sources = {path.stem: path.read_text() for path in folder.glob("*.py") if path.stem != "__init__"}
    for study, source in sources.items():
        place = f"gdx/studies/{study}.py"
        functions = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        public = [name for name in functions if name in gdx.studies.__all__]
        others = "\n".join(text for name, text in sources.items() if name != study)
        if not public and f"gdx.studies.{study} import" not in others:
            forgotten.append(f"{place} exports nothing; name its function in gdx/studies/__init__.py, twice")
        if public and not any(re.search(rf"\b{name}\b", shown) for name in public):
            forgotten.append(f"{place}: no report, command or README names {' or '.join(public)}; show how to ask it")
        if public and not any(re.search(rf"\b{name}\(", tests) for name in public):
            forgotten.append(f"{place}: no test calls {' or '.join(public)}; hold its answer to a closed form")
    none_of(forgotten)


def test_every_benchmark_states_its_claim_and_keeps_its_printout():
    forgotten = []
    for path in sorted((ROOT / "bench").glob("*.py")):
        if path.stem in ("timing", "models"):
            continue
        says, place = ast.get_docstring(ast.parse(path.read_text())) or "", path.relative_to(ROOT)
        printouts = re.findall(r"bench/results/[\w-]+\.txt", says)
        if not re.search(r"^Claims?\b", says, re.MULTILINE):
            forgotten.append(f"{place}: its header states no claim; begin a line with 'Claim'")
        if not printouts or not all((ROOT / name).exists() for name in printouts):
            forgotten.append(f"{place}: its header names no printout that exists; save one in bench/results/")
    none_of(forgotten)


def insert(path, *changes):
    text = path.read_text()
    for before, new in changes:
        assert text.count(before) == 1, (path, before)
        text = text.replace(before, new + before)
    path.write_text(text)


@pytest.mark.slow
def test_the_templates_of_the_readme_join(tmp_path):
    for name in ("gdx", "tests", "bench", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    section = (ROOT / "README.md").read_text().split("## Join")[1].split("## The map")[0]
    optimizer, rows, landscape, *_ = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "gdx/optimizers/heavy_ball.py").write_text(optimizer)
    row, textbook = (re.search(pattern, rows)[1] for pattern in (r"row = (Row\(.*\))", r"textbook = (\(.*\))"))
    insert(
        tmp_path / TABLE_FILE,
        ("from gdx.optimizers.lookahead", "from gdx.optimizers.heavy_ball import heavy_ball, scale_by_heavy_ball\n"),
        ('    "nesterov_lookahead",', '    "heavy_ball",\n    "scale_by_heavy_ball",\n'),
        ('    Row("momentum"', f"    {row},\n"),
    )
    insert(
        tmp_path / "tests/own_optimizers.py",
        ("CATALOGUE = gdx", rows[rows.index("def heavy_ball_steps") : rows.index("textbook = ")]),
        ('        ("ema-momentum",', f"        {textbook},\n".replace('"LOGISTIC"', "LOGISTIC")),
    )
    code = landscape[landscape.index("def matyas") :].replace("gdx.Problem", "Problem")
    insert(
        tmp_path / LANDSCAPE_FILE,
        ("def landscape_catalogue", code + "\n\n"),
        ('    "monkey_saddle"', '    "matyas",\n'),
    )
    chosen = "(joining or heavy-ball or matyas) and not templates"
    files = [f"tests/test_{name}.py" for name in ("joining", "conformance", "landscapes", "catalogue")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, *files],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for name in (
        r"conformance.*textbook.*\[heavy-ball\]",
        r"joining.*threshold.*\[heavy-ball\]",
        r"landscapes.*\[matyas\]",
    ):
        assert re.search(rf"tests/test_{name} PASSED", done.stdout), name
