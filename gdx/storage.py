"""Labelled datasets of runs, in netCDF."""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.maps import PhaseMap
from gdx.sweeps import Runs, Stop
from gdx.verdicts import Answer, TrainingVerdict, Verdict, training_verdicts, verdicts

if TYPE_CHECKING:
    import xarray

__all__ = ["load", "map_to_dataset", "save", "to_dataset"]


def to_dataset(runs: Runs, settings: Mapping[str, Any] | None = None) -> xarray.Dataset:
    """Label the facts of a sweep over step sizes and both kinds of verdicts on them.

    Parameters
    ----------
    runs
        Facts, leaves [S, R]; observers' summaries may have further axes.
    settings
        Anything worth keeping beside them; values become attributes.

    Returns
    -------
    xarray.Dataset
        Dims `step_size` and `repeat`, one variable a fact, `verdict` and `training_verdict`; codes carry their
        meanings. A summary of the observer `mine` is `observed_mine`, parts of it are `observed_mine.part`, and so are
        further hyperparameters `hyperparams.momentum`; what stands in a part's name beside letters, digits and
        underscores is escaped as in an address, "%2F" for "/". bfloat16 becomes float32.

    Notes
    -----
    Where there is no one step size along the first axis the dim is `point`, and hyperparameters are variables alone.

    Examples
    --------
    Continues the example of `gdx`.

    >>> dataset = gdx.storage.to_dataset(runs, {"problem": "quadratic"})
    >>> dict(dataset.sizes), dataset.attrs["problem"]
    ({'step_size': 4, 'repeat': 2}, 'quadratic')
    """
    import xarray

    facts = runs._asdict() | {"verdict": verdicts(runs), "training_verdict": training_verdicts(runs)}
    parts = {"observed_": facts.pop("observed"), "hyperparams.": _further(facts.pop("hyperparams"))}
    axis = _axis(runs)
    variables: dict[str, Any] = {name: ((axis, "repeat"), _storable(values)) for name, values in facts.items()}
    for prefix, tree in parts.items():
        variables |= _labelled(prefix, tree, (axis, "repeat"))
    dataset = xarray.Dataset(
        variables,
        coords={axis: _positions(runs, axis), "repeat": np.arange(np.shape(runs.stopped)[1])},
        attrs={name: _as_attribute(value) for name, value in (settings or {}).items()},
    )
    for name, codes in {"stopped": Stop, "verdict": Verdict, "training_verdict": TrainingVerdict}.items():
        _give_meanings(dataset[name], codes)
    return dataset


def map_to_dataset(found: PhaseMap, settings: Mapping[str, Any] | None = None) -> xarray.Dataset:
    """Label a map over two hyperparameters, and the facts of the runs that it was made of.

    Parameters
    ----------
    found
        From `gdx.phase_map`.
    settings
        Anything worth keeping beside it; values become attributes.

    Returns
    -------
    xarray.Dataset
        Dims `y` and `x`, by the names of the hyperparameters, for `answer`, `share`, `verdict` and `computed`; dims
        `cell` and `repeat` for facts of the runs, `run_answer`, `run_verdict` and what observers saw, named as in
        `to_dataset`. `cell` counts along rows, `y * X + x`.

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> labelled = gdx.storage.map_to_dataset(found, {"problem": "quadratic"})
    >>> labelled.answer.dims, labelled.answer.shape
    (('step_size', 'momentum'), (64, 64))
    """
    import xarray

    across, down = found.names
    cells, runs = (down, across), ("cell", "repeat")
    whole = {"answer": found.answers, "share": found.share, "verdict": found.verdict, "computed": found.computed}
    variables: dict[str, Any] = {name: (cells, values) for name, values in whole.items()}
    parts = {**found.facts, "run_answer": found.run_answers, "run_verdict": found.verdicts}
    variables |= {name: (runs, _storable(values)) for name, values in parts.items()}
    variables |= _labelled("observed_", found.observed, runs)
    dataset = xarray.Dataset(
        variables,
        coords={across: found.x, down: found.y, "cell": found.cells, "repeat": np.arange(found.run_answers.shape[1])},
        attrs={name: _as_attribute(value) for name, value in (settings or {}).items()},
    )
    kinds = {"answer": Answer, "run_answer": Answer, "stopped": Stop}
    kinds |= {"verdict": found.verdict_names, "run_verdict": found.verdict_names}
    for name, codes in kinds.items():
        _give_meanings(dataset[name], codes)
    return dataset


def save(dataset: xarray.Dataset, path: str | pathlib.Path) -> None:
    """Write a dataset to netCDF, in one move: a reader sees the old file or the new one.

    Parameters
    ----------
    dataset
        As `to_dataset` gives it.
    path
        Of the file; its folder must exist.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.

    Examples
    --------
    Continues the example of `gdx.storage.to_dataset`.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "runs.nc")
    >>> gdx.storage.save(dataset, path)
    >>> path.exists()
    True
    """
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        try:
            # In memory first: on a full disk HDF5 leaves files behind that it cannot close, and ends the process.
            content = dataset.to_netcdf(engine="h5netcdf")
        except ValueError:
            # Before 2025 xarray writes this kind of file to a disk only.
            dataset.to_netcdf(partial, engine="h5netcdf")
        else:
            partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load(path: str | pathlib.Path) -> xarray.Dataset:
    """Read a dataset into memory.

    Parameters
    ----------
    path
        Of a file that `save` wrote.

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    Continues the example of `gdx.storage.save`.

    >>> dict(gdx.storage.load(path).sizes)
    {'step_size': 4, 'repeat': 2}
    """
    import xarray

    return xarray.load_dataset(path, engine="h5netcdf")


def _labelled(prefix, tree, dims):
    """Variables of a pytree's leaves, whose leading axes have these dims."""
    variables = {}
    for path, values in jax.tree.leaves_with_path(tree):
        name = prefix + ".".join(_escaped(part) for part in path)
        extra = tuple(f"{name}_dim{axis}" for axis in range(np.ndim(values) - len(dims)))
        variables[name] = ((*dims, *extra), _storable(values))
    return variables


def _give_meanings(variable, codes):
    variable.attrs["flag_values"] = np.asarray([code.value for code in codes], np.int8)
    variable.attrs["flag_meanings"] = " ".join(code.name.lower() for code in codes)


def _axis(runs):
    """What the first axis is called."""
    sizes = np.asarray(runs.run_step_size, float)
    return "step_size" if np.all(sizes == sizes[:, :1]) else "point"


def _positions(runs, axis):
    return np.asarray(runs.step_sizes, float) if axis == "step_size" else np.arange(np.shape(runs.stopped)[0])


def _further(hyperparams):
    """What stands beside a step size; alone it is the axis itself."""
    return hyperparams if jax.tree.structure(hyperparams).num_leaves > 1 else ()


def _escaped(part):
    """A name that no other part of a summary has, without what a netCDF name must not hold."""
    name = getattr(part, "key", getattr(part, "idx", getattr(part, "name", part)))
    # A dot is what parts are joined with, and "quote" lets it and a few more through.
    return "".join(f"%{ord(char):02X}" if char in ".-~" else char for char in urllib.parse.quote(str(name), safe=""))


def _storable(values):
    """As an array of a dtype that files have."""
    array = np.asarray(values)
    # NumPy counts the floats of machine learning among the raw bytes, or the floats.
    is_narrow = array.dtype.kind in "Vf" and array.dtype.itemsize < 4
    return array.astype(np.float32) if is_narrow else array


def _as_attribute(value):
    """The netCDF attribute nearest to a value: it has numbers and text, but neither None nor switches nor dicts."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float, str)):
        return value
    return str(value)
