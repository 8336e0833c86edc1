"""The notebooks run from top to bottom, and what is committed shows their results."""

import os
import pathlib

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def num_images(notebook):
    return sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))


def run_small(path):
    """Execute a notebook at its small size in a kernel of the interpreter that runs the tests."""
    notebook = read(path)
    # Without folders to search, the only kernel is the running interpreter's own.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    # The tests' own backend draws into nothing; the kernel is to choose the one that shows pictures.
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    env["GDX_NOTEBOOK_SIZE"] = "small"
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    client = NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": str(path.parent)}})
    # A manager that was passed in is shut down only on request.
    client.execute(env=env, cleanup_kc=True)
    return notebook


def test_there_is_a_notebook_to_test():
    assert NOTEBOOKS


@each_notebook
@pytest.mark.slow
def test_a_notebook_runs_at_small_size_without_an_error_and_draws_all_its_pictures(path):
    executed = run_small(path)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert not [output for output in outputs_of(executed) if output.output_type == "error"]
    assert num_images(executed) == num_images(read(path))


@each_notebook
def test_a_committed_notebook_is_valid_and_keeps_its_pictures(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert num_images(notebook) >= 1


@each_notebook
def test_a_committed_notebook_opens_with_the_picture_that_it_ends_in(path):
    notebook = read(path)
    first = notebook.cells[0]
    pictures = [output["data"]["image/png"] for output in outputs_of(notebook) if "image/png" in output.get("data", {})]
    assert first.cell_type == "markdown"
    assert "](attachment:picture.png)" in first.source
    assert "".join(first.attachments["picture.png"]["image/png"].split()) == "".join(pictures[-1].split())


@each_notebook
def test_a_committed_notebook_was_executed_once_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in read(path).cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_a_committed_notebook_shows_no_errors_or_warnings(path):
    outputs = outputs_of(read(path))
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@each_notebook
def test_a_committed_notebook_is_small_and_names_no_folder_of_its_author(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 600_000
    assert str(ROOT) not in text
    assert str(pathlib.Path.home()) + os.sep not in text
    assert read(path).metadata.kernelspec.name == "python3"
