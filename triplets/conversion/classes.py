"""Texts with labels become triplets, by label or by example (NV-Embed, arXiv 2405.17428, section 4.1).

By label: a text's positive is the text of its label, its negatives are other labels. By example: the positive is another text
of the class, the negatives are texts of other classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import UserError
from triplets.conversion.result import ConversionReport, Row, key_of, placed_rows, text_of

LABEL_KEYS = ("label_text", "label", "labels", "class", "category")
TRIES = 20  # draws for a negative before a class is gone through


@dataclass
class Classes:
    """Labelled texts, each once for every label that it has.

    Attributes:
        members: label -> places of its texts, in order.
        texts: all distinct texts, case and white space aside.
        labels: of each text: those that it stands under.
    """

    members: dict[str, list[int]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    labels: list[set[str]] = field(default_factory=list)


def read_classes(path: Path, report: ConversionReport, leave_out: set[int]) -> Classes:
    """Read labelled texts; texts of evaluation sets are left out, a text that stands twice under a label counts once."""
    classes, number_of = Classes(), dict[int, int]()
    for place, row in placed_rows(path, report):
        text, label = text_of(row, ("text", "sentence"), place), label_of(row, place)
        key = key_of(text)
        if key in leave_out:
            report.left_out["rows whose text stands in an evaluation set"] += 1
            continue
        number = number_of.setdefault(key, len(classes.texts))
        if number == len(classes.texts):
            classes.texts.append(text)
            classes.labels.append(set())
        if label in classes.labels[number]:
            report.left_out["rows whose text stands under the same label before"] += 1
            continue
        classes.labels[number].add(label)
        classes.members.setdefault(label, []).append(number)
    return classes


def label_of(row: Row, place: str) -> str:
    """Return the label of a row as a text."""
    for name in LABEL_KEYS:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    raise UserError(f"{place}: no label under {', '.join(LABEL_KEYS)} (the keys are: {', '.join(row)})")


def balanced(
    classes: Classes, each: int | None, generator: np.random.Generator, report: ConversionReport
) -> Iterator[tuple[int, str]]:
    """Yield texts and labels, label by label: at most ``each`` of a label, drawn at random, in their order."""
    for label, numbers in classes.members.items():
        chosen = numbers
        if each is not None and len(numbers) > each:
            drawn = generator.choice(len(numbers), size=each, replace=False)
            chosen = [numbers[place] for place in np.sort(drawn)]
            report.left_out["rows beyond --each_label"] += len(numbers) - each
        for number in chosen:
            yield number, label


def by_label(classes: Classes, negatives: int, each: int | None, seed: int, report: ConversionReport) -> Iterator[Row]:
    """Yield a row for each text and label: the label is the positive, other labels are the negatives."""
    generator = np.random.default_rng(seed)
    labels = list(classes.members)
    for number, label in balanced(classes, each, generator, report):
        others = [other for other in labels if other not in classes.labels[number]]
        count = min(negatives, len(others))
        if count < negatives:
            report.notes["rows with fewer negatives than wanted"] += 1
        chosen = generator.choice(len(others), size=count, replace=False).tolist() if count else []
        yield {"query": classes.texts[number], "positive": label, "negative": [others[place] for place in chosen]}


def by_example(classes: Classes, negatives: int, each: int | None, seed: int, report: ConversionReport) -> Iterator[Row]:
    """Yield a row for each text and label: another text of the class is the positive, texts of other classes the negatives.

    No negative stands under the label of the query too. A class of one text gives no row.
    """
    generator = np.random.default_rng(seed)
    for number, label in balanced(classes, each, generator, report):
        members = classes.members[label]
        if len(members) < 2:
            report.left_out["rows whose class has no other text"] += 1
            continue
        place = int(generator.integers(len(members) - 1))
        positive = members[place] if members[place] != number else members[-1]
        chosen = texts_of_others(classes, classes.labels[number], negatives, generator)
        if len(chosen) < negatives:
            report.notes["rows with fewer negatives than wanted"] += 1
        if not chosen:
            report.left_out["rows without any text of another class"] += 1
            continue
        texts = [classes.texts[other] for other in chosen]
        yield {"query": classes.texts[number], "positive": classes.texts[positive], "negative": texts}


def texts_of_others(classes: Classes, labels: set[str], count: int, generator: np.random.Generator) -> list[int]:
    """Return distinct texts that stand under none of some labels, drawn at random; fewer where there are fewer."""
    chosen: dict[int, None] = {}
    for _ in range(TRIES * count):
        number = int(generator.integers(len(classes.texts)))
        if not classes.labels[number] & labels:
            chosen[number] = None
        if len(chosen) == count:
            return list(chosen)
    every = [number for number, own in enumerate(classes.labels) if not own & labels]
    order = generator.permutation(len(every))[:count]
    return [every[place] for place in order]
