"""What `help` says that stands elsewhere in the source: of fields, of members, and sections that functions share."""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import linecache
import sys
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

from gdx.wording import brief_record

Record = TypeVar("Record", bound=type[Any])
Members = TypeVar("Members", bound=type[enum.Enum])
Function = TypeVar("Function", bound=Callable[..., Any])


def sharing(sections: str) -> Callable[[Function], Function]:
    """Give a function the sections of its docstring that others have word for word.

    Parameters
    ----------
    sections
        "Parameters", "Returns" and so on, as they stand in a docstring; they come last, but for examples.

    Returns
    -------
    callable
        A decorator, which returns the same function.
    """

    def give(function):
        if function.__doc__ is not None:
            function.__doc__ = _before_examples(function.__doc__, inspect.cleandoc(sections))
        return function

    return give


def record(cls: Record) -> Record:
    """Give a NamedTuple the meanings of its fields, and a `repr` that shows shapes instead of arrays.

    The meaning of a field is the string that stands below it in the source. Python throws those away, so they are read
    there once more, from the few lines of the class alone: 10 ms for all 45 at import. Where there is no source, as in
    an installation of compiled files only, fields stay without.

    Parameters
    ----------
    cls
        A class `class Name(NamedTuple)` of a module. A `__repr__` of its own stays.

    Returns
    -------
    type
        The same class.
    """
    for name, meaning in _meanings(cls).items():
        getattr(cls, name).__doc__ = meaning
    # Python makes a constructor that seems to stand in no module, with types that nobody can look up or likes to read.
    make = cls.__new__
    make.__module__ = cls.__module__
    make.__annotations__ = {name: getattr(kind, "__forward_arg__", kind) for name, kind in make.__annotations__.items()}
    if cls.__repr__.__module__ == "collections":
        cls.__repr__ = brief_record  # pyright: ignore[reportAttributeAccessIssue]
    return cls


def legend(cls: Members) -> Members:
    """Give an enumeration the meanings of its members, in its docstring and in their own.

    They are the strings below the members, found as `record` finds those of fields; `help` of an enumeration shows
    nothing of its members but their values.

    Parameters
    ----------
    cls
        A class `class Name(enum.Enum)` of a module, or one of its kin.

    Returns
    -------
    type
        The same class.
    """
    meanings = _meanings(cls)
    for name, meaning in meanings.items():
        cls[name].__doc__ = meaning
    if meanings and cls.__doc__ is not None:
        told = "\n".join(f"{name}\n{textwrap.indent(meaning, '    ')}" for name, meaning in meanings.items())
        cls.__doc__ = _before_examples(cls.__doc__, f"Attributes\n----------\n{told}")
    return cls


def _before_examples(docstring, sections):
    head, rule, examples = inspect.cleandoc(docstring).partition("\n\nExamples\n--------\n")
    return f"{head}\n\n{sections}{rule}{examples}\n"


def _meanings(cls):
    """Names that a class body gives to what it holds, each with the string that stands below it."""
    body = _body(cls)
    pairs = itertools.pairwise(body)
    return {
        target.id: inspect.cleandoc(below.value.value)
        for field, below in pairs
        if isinstance(field, ast.AnnAssign | ast.Assign)
        and isinstance(target := field.target if isinstance(field, ast.AnnAssign) else field.targets[0], ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _body(cls):
    """Statements of a class, from its own lines; parsing the whole file would take ten times as long."""
    module = sys.modules[cls.__module__]
    # Python's own cache of sources knows zipped packages, too.
    lines = linecache.getlines(getattr(module, "__file__", None) or "", vars(module))
    start = next((i for i, line in enumerate(lines) if line.startswith(f"class {cls.__name__}(")), None)
    if start is None:
        return []
    rest = itertools.takewhile(lambda line: not line.strip() or line[0].isspace(), lines[start + 1 :])
    (definition,) = ast.parse("".join([lines[start], *rest])).body
    return definition.body if isinstance(definition, ast.ClassDef) else []
