"""Who gets which hyperparameter: the family, the problem or both, a bare step size or a dict."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.problems.base import Problem
from gdx.responses.families import as_transformation
from gdx.stepping import Family
from gdx.sweeps.runs import STEP_SIZES


class Handed(NamedTuple):
    """A problem and a family that both take a dict of numbers."""

    problem: Any
    family: Family


def handed(problem: Any, family: Family, names: Sequence[str], fixed: Mapping[str, Any]) -> Handed:
    """Let a problem and a family take what varies as a dict, and what is fixed beside it.

    Parameters
    ----------
    problem
        A Problem, or a callable `hyperparams -> Problem`.
    family
        `hyperparams -> optax transformation`, of a dict; or of a bare step size, where one of the names is that of one.
    names
        Of what varies.
    fixed
        Name to a plain Python number, which both get as it is.

    Returns
    -------
    Handed

    Raises
    ------
    ValueError
        If neither asks for one of the names, with those that are asked for.
    """
    step_size = next((name for name in (*names, *fixed) if name in STEP_SIZES), None)
    is_bare = step_size is not None and _takes_a_number(family)

    def family_of(hyperparams):
        whole = {**hyperparams, **fixed}
        return family(whole[step_size]) if is_bare else family(whole)

    def problem_of(hyperparams):
        return problem({**hyperparams, **fixed})

    varies = callable(problem) and not isinstance(problem, Problem)
    by_family = None if is_bare else _asked_for(family, names, fixed)
    by_problem = _asked_for(problem, names, fixed) if varies else None
    _check_asked_for([*names, *fixed], {step_size} if is_bare else by_family, by_problem if varies else set())
    return Handed(problem_of if varies else problem, family_of)


def _takes_a_number(family):
    """Whether a family makes its transformation of a step size alone, as optax's own do."""

    def attempt(step_size):
        made = as_transformation(family(step_size))
        return optax.GradientTransformation(*made).init({"w": jnp.zeros(2)}) if made is not None else None

    # Whatever is raised, it is the dict that is wanted, or told of where it is handed over in earnest.
    with contextlib.suppress(Exception):
        return jax.eval_shape(attempt, 0.1) is not None
    return False


def _asked_for(function, names, fixed):
    """What a function looks up in what it gets; None where it takes the dict as a whole."""
    seen = Watched()

    def attempt(values):
        seen.update(values)
        seen.update(fixed)
        seen.begin(next(iter(values.values()), 0.1))
        function(seen)

    # A dict of another type is no pytree, so that a function may fail on it alone.
    with contextlib.suppress(Exception):
        jax.eval_shape(attempt, dict.fromkeys(names, 0.1))
        return None if seen.is_whole else seen
    return None


def _check_asked_for(names, by_family, by_problem):
    """Refuse a name that nobody looks up, and a look-up that finds nothing, as far as that is known of both."""
    if by_family is None or by_problem is None:
        return
    is_bare, varies = isinstance(by_family, set), not isinstance(by_problem, set)
    of_family, of_problem = (one if isinstance(one, set) else one.looked_up for one in (by_family, by_problem))
    family = "takes a bare step size" if is_bare else f"asks for {_listed(of_family)}"
    asks = f"the family {family}, the problem {f'asks for {_listed(of_problem)}' if varies else 'takes none'}"
    for name in names:
        if name not in of_family | of_problem:
            raise ValueError(
                f"axis: {name!r} is asked for by nobody: {asks}; name one that is, or pass a problem of it"
            )
    for whose, one in (("family", by_family), ("problem", by_problem)):
        missing = set() if isinstance(one, set) else one.needed - set(names)
        if missing:
            raise ValueError(f"{whose}: it asks for {_listed(missing)} beside {_listed(names)}; pass that in at")


def _listed(names):
    return ", ".join(sorted(names)) or "nothing"


class Watched(dict):
    """A dict that remembers which of its names were looked up, and whether somebody went through all."""

    def __init__(self):
        super().__init__()
        self.looked_up: set[str] = set()
        self.needed: set[str] = set()
        self.is_whole = False
        self.stand_in: Any = None

    def begin(self, stand_in: Any) -> None:
        """Forget what happened so far; what is missing is as if it were this."""
        self.looked_up, self.needed, self.is_whole, self.stand_in = set(), set(), False, stand_in

    def __getitem__(self, name):
        self.looked_up.add(name)
        self.needed.add(name)
        return super().get(name, self.stand_in)

    def get(self, name: Any, default: Any = None) -> Any:
        """Look one up, if it is there."""
        self.looked_up.add(name)
        return super().get(name, default)

    def __iter__(self):
        self.is_whole = True
        return super().__iter__()

    def keys(self) -> Any:
        """Go through all names."""
        self.is_whole = True
        return super().keys()

    def values(self) -> Any:
        """Go through all numbers."""
        self.is_whole = True
        return super().values()

    def items(self) -> Any:
        """Go through both."""
        self.is_whole = True
        return super().items()
