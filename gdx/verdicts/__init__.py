"""From facts to verdicts, and from verdicts to the answer to a criterion.

Does it train? On real networks a small gradient proves nothing: a net that died has one, and one that trains does
not. There the criterion is "trains", judged by the loss that is reached: over the last tenth of the horizon it must
be nearer to the best of the sweep than to what a run that learns nothing reaches. And a quiet tail is no rest where
the second half of the run contradicts it.

Nobody has to ask for it: it is the default with batches, with a model's mutable state, and wherever nothing is known
in closed form and the best runs of the sweep have not come to rest. A criterion may also be any function of the runs,
as in `criterion=lambda runs: runs.last_loss < 0.1`; `gdx.critical_step_size` and `gdx.answers` take it.
"""

from gdx.verdicts.criteria import (
    CRITERIA,
    Answer,
    answers,
    bounded,
    check_criterion,
    choose_criterion,
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
    "choose_criterion",
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
