"""From facts to verdicts, and from verdicts to the answer to a criterion."""

from gdx.verdicts.criteria import (
    CRITERIA,
    Answer,
    answers,
    bounded,
    check_criterion,
    converged,
    criterion_name,
    default_criterion,
    improved,
    stable,
    trains,
)
from gdx.verdicts.rest import Verdict, verdicts
from gdx.verdicts.telling import told
from gdx.verdicts.training import TrainingLevel, TrainingVerdict, training_level, training_verdicts

__all__ = [
    "CRITERIA",
    "Answer",
    "TrainingLevel",
    "TrainingVerdict",
    "Verdict",
    "answers",
    "bounded",
    "check_criterion",
    "converged",
    "criterion_name",
    "default_criterion",
    "improved",
    "stable",
    "told",
    "training_level",
    "training_verdicts",
    "trains",
    "verdicts",
]
