"""Who gets which hyperparameter: the family, the problem or both, a bare step size or a dict."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from gdx.problems.base import Problem
from gdx.stepping import Family, resolve_problem, train_step
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
    varies = not isinstance(problem, Problem)
    watched = tuple(Watched() for _ in range(2))
    works = _takes(problem, family, names, fixed, lambda whole: [one.begin(whole) for one in watched])
    by_family, by_problem = watched
    # A family that takes a dict and reads nothing of it has a step size of its own.
    is_bare = False
    if not works:
        is_bare = _takes(problem, family, names, fixed, lambda whole: [whole.get(step_size, 0.1), whole])
    if is_bare and step_size is None:
        raise ValueError(
            f"family: it takes a bare step size, and none of {_listed([*names, *fixed])} is called {STEP_SIZES[0]}; "
            "name an axis so, or fix it in at"
        )
    if works or is_bare:
        _check_asked_for([*names, *fixed], {step_size} if is_bare else by_family, by_problem if varies else set())

    def family_of(hyperparams):
        whole = {**hyperparams, **fixed}
        return family(whole[step_size]) if is_bare else family(whole)

    def problem_of(hyperparams: Any) -> Problem:
        return resolve_problem(problem, {**hyperparams, **fixed})

    return Handed(problem_of if varies else problem, family_of)


def _takes(problem, family, names, fixed, handed_over):
    """Whether one step can be made, by shapes alone, with what a family and a problem are handed over."""

    def attempt(values, key):
        to_family, to_problem = handed_over({**values, **fixed})
        here = resolve_problem(problem, to_problem)
        step = train_step(here, lambda _: family(to_family))
        return step.update(step.init(values, key))

    # Whatever is raised, it is told of where a sweep makes its first step in earnest.
    with contextlib.suppress(Exception):
        jax.eval_shape(attempt, dict.fromkeys(names, 0.1), jax.random.key(0))
        return True
    return False


def _check_asked_for(names, by_family, by_problem):
    """Refuse a name that nobody looks up, and a look-up that finds nothing, as far as that is known of both."""
    if any(isinstance(one, Watched) and one.is_whole for one in (by_family, by_problem)):
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

    def begin(self, whole: dict[str, Any]) -> Watched:
        """Hold these numbers, and forget what happened so far."""
        super().update(whole)
        self.looked_up, self.needed, self.is_whole = set(), set(), False
        return self

    def __getitem__(self, name):
        self.looked_up.add(name)
        self.needed.add(name)
        # What is missing is as if it were something, so that all that is asked for is seen.
        return super().get(name, next(iter(super().values())))

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
