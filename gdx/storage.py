"""Labelled datasets of runs, in netCDF."""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.sweeps import Runs, Stop
from gdx.verdicts import TrainingVerdict, Verdict, training_verdicts, verdicts

if TYPE_CHECKING:
    import xarray

__all__ = ["load", "save", "to_dataset"]


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
        for path, values in jax.tree.leaves_with_path(tree):
            name = prefix + ".".join(_escaped(part) for part in path)
            extra = tuple(f"{name}_dim{axis}" for axis in range(np.ndim(values) - 2))
            variables[name] = ((axis, "repeat", *extra), _storable(values))
    dataset = xarray.Dataset(
        variables,
        coords={axis: _positions(runs, axis), "repeat": np.arange(np.shape(runs.stopped)[1])},
        attrs={name: _as_attribute(value) for name, value in (settings or {}).items()},
    )
    for name, codes in {"stopped": Stop, "verdict": Verdict, "training_verdict": TrainingVerdict}.items():
        dataset[name].attrs["flag_values"] = np.asarray([code.value for code in codes], np.int8)
        dataset[name].attrs["flag_meanings"] = " ".join(code.name.lower() for code in codes)
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
