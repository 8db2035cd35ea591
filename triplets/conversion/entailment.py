"""Premises and hypotheses become triplets (SimCSE, arXiv 2104.08821, section 4).

Entailed hypotheses are positives, contradicting ones negatives of the same premise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError
from triplets.conversion.result import ConversionReport, Row, key_of, placed_rows, text_of

PREMISE = ("premise", "sentence1", "text1")
HYPOTHESIS = ("hypothesis", "sentence2", "text2")
LABELS = {"entailment": "positive", "0": "positive", "contradiction": "negative", "2": "negative", "neutral": "", "1": ""}
UNLABELLED = ("-1", "-")


def entailed(path: Path, report: ConversionReport, leave_out: set[int]) -> Iterator[Row]:
    """Yield a row for each premise and entailed hypothesis, with all hypotheses that contradict the premise.

    Args:
        path: rows with premise, hypothesis and label (entailment, neutral, contradiction, or 0, 1, 2).
        report: of the conversion.
        leave_out: hashes of texts of evaluation sets.
    """
    premises: dict[str, dict[str, list[str]]] = {}
    for place, row in placed_rows(path, report):
        premise, hypothesis = text_of(row, PREMISE, place), text_of(row, HYPOTHESIS, place)
        role = role_of(row, place)
        if leave_out & {key_of(premise), key_of(hypothesis)}:
            report.left_out["rows with a text of an evaluation set"] += 1
        elif role == "":
            report.left_out["neutral or unlabelled rows"] += 1
        else:
            hypotheses = premises.setdefault(premise, {"positive": [], "negative": []})[role]
            if hypothesis not in hypotheses:
                hypotheses.append(hypothesis)
    for premise, texts in premises.items():
        if not texts["positive"]:
            report.left_out["premises without an entailed hypothesis"] += 1
        for positive in texts["positive"]:
            if key_of(positive) == key_of(premise):
                report.left_out["hypotheses that equal their premise"] += 1
                continue
            negatives = [text for text in texts["negative"] if key_of(text) not in (key_of(positive), key_of(premise))]
            if not negatives:
                report.notes["rows without negatives"] += 1
            yield {"query": premise, "positive": positive, "negative": negatives}


def role_of(row: Row, place: str) -> str:
    """Return ``positive``, ``negative``, or an empty text for a row that is neither.

    Raises:
        UserError: its label is unknown.
    """
    for name in ("gold_label", "label_text", "label"):
        label = str(row.get(name, "")).strip().lower()
        if label in LABELS:
            return LABELS[label]
        if label in UNLABELLED:
            return ""
    raise UserError(f"{place}: the label must be entailment, neutral or contradiction (or 0, 1, 2)")
