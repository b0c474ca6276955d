"""Labelled cases that a model which has not seen them contradicts: mislabelled or under-identified, perhaps.

The out-of-fold probabilities go to cleanlab (Northcutt et al., "Confident learning: estimating uncertainty in
dataset labels", 2021), which scores every label and estimates how many are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS, Case
from tipnlp.errors import MissingExtraError
from tipnlp.folds import index_labels, predict_out_of_fold
from tipnlp.pipeline import TrainingConfig
from tipnlp.tables import format_count, format_table

NOT_TRAFFICKING = "non_trafficking"

# Digits of probabilities and scores that are written, and those of scores that rank: what differs less is on a par.
DIGITS, RANKED_DIGITS = 4, 2

MISSED_MARK = "missed"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A labelled case for which another label is likelier.

    Attributes:
        case: the case, as it was read.
        label: the label it was given.
        likelier: the most likely label.
        probabilities: of each label in the order of `LABELS`, from a model that has not seen the case's group.
        score: cleanlab's quality of the given label, from 0 (surely wrong) to 1: its probability ("self-confidence").
        is_issue: cleanlab counts it among the wrong labels.
    """

    case: Case
    label: str
    likelier: str
    probabilities: Mapping[str, float]
    score: float
    is_issue: bool

    @property
    def missed(self) -> bool:
        """Whether it may be an under-identified case: labelled not trafficking, though a kind of it is likelier."""
        return self.label == NOT_TRAFFICKING

    def to_record(self) -> dict[str, Any]:
        """Return the suspect as one record, without the text; input columns of the same name get the prefix `input_`.

        `label` is the label that was given, so that it can be put right and the file be used again.
        """
        record: dict[str, Any] = {
            "id": self.case.id,
            "label": self.label,
            "likelier": self.likelier,
            "probabilities": {label: round(p, DIGITS) for label, p in self.probabilities.items()},
            "score": round(self.score, DIGITS),
            "issue": self.is_issue,
            "missed": self.missed,
        }
        for name, value in self.case.columns.items():
            if name not in ("id", "label"):
                record[f"input_{name}" if name in record else name] = value
        return record


def find_suspects(cases: Sequence[Case], config: TrainingConfig | None = None, jobs: int = 1) -> list[Suspect]:
    """Return the labelled cases that an out-of-fold model contradicts.

    Those that cleanlab counts as wrong come first, then those of lower score, then the missed ones.

    Args:
        cases: labelled cases with distinct ids, at least two groups a label.
        config: settings; the defaults are those of the default model.
        jobs: how many folds are trained at the same time.

    Raises:
        MissingExtraError: cleanlab is not installed.
        CorpusError: no model can be trained on the cases; all faults are named at once.
    """
    rank, issue_filter = _import_cleanlab()
    # Every case is asked about, however many there are.
    config = replace(config or TrainingConfig(), max_judged=len(cases))
    probabilities = predict_out_of_fold(cases, config, jobs).probabilities
    given = index_labels(cases)
    # In trials with one label in twenty flipped, balanced labels and rare ones, this score ranked the flipped ones
    # higher than the normalized margin and than scores adjusted for rare labels, and this filter was the most precise.
    scores = rank.get_label_quality_scores(given, probabilities, method="self_confidence")
    issues = issue_filter.find_label_issues(given, probabilities, filter_by="low_self_confidence", n_jobs=1)
    contradicted = probabilities.max(axis=1) > probabilities[np.arange(len(cases)), given]
    suspects = [
        _build_suspect(cases[place], probabilities[place], float(scores[place]), bool(issues[place]))
        for place in np.flatnonzero(contradicted).tolist()
    ]
    return sorted(suspects, key=lambda s: (not s.is_issue, round(s.score, RANKED_DIGITS), not s.missed, s.score))


def _import_cleanlab() -> tuple[ModuleType, ModuleType]:
    try:
        from cleanlab import filter as issue_filter
        from cleanlab import rank
    except ImportError:
        raise MissingExtraError("cleanlab", "suspects") from None
    return rank, issue_filter


def _build_suspect(case: Case, row: NDArray[np.float64], score: float, is_issue: bool) -> Suspect:
    probabilities = dict(zip(LABELS, row.tolist(), strict=True))
    return Suspect(case, case.label or "", LABELS[int(row.argmax())], probabilities, score, is_issue)


def format_suspects(suspects: Sequence[Suspect]) -> str:
    """Return one line a suspect: rank, id, labels with their probabilities, mark of the missed ones."""
    rows = [["rank", "case", "given", "likelier", "score: p(given)", "p(likelier)", ""]]
    for rank, suspect in enumerate(suspects, start=1):
        mark = MISSED_MARK if suspect.missed else ""
        figures = [f"{suspect.score:.2f}", f"{suspect.probabilities[suspect.likelier]:.2f}"]
        rows.append([str(rank), suspect.case.id, suspect.label, suspect.likelier, *figures, mark])
    return format_table(rows, indent="")


def describe_suspects(suspects: Sequence[Suspect], total: int) -> str:
    """Return in words how many of `total` cases are contradicted, wrong by cleanlab's estimate, and missed."""
    issues, missed = sum(s.is_issue for s in suspects), sum(s.missed for s in suspects)
    return (
        f"{len(suspects)} of {format_count(total, 'case')} contradicted by a model that has not seen them;"
        f" cleanlab estimates {format_count(issues, 'wrong label')};"
        f" {missed} labelled {NOT_TRAFFICKING} may be trafficking"
    )
