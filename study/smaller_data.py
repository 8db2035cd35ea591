"""Lay out a folder of real data for a study on a real LLM with few cores: smaller tasks, development tasks, a mix for training.

Command::

    python -m study.smaller_data DATA --output_dir runs/smollm2

``DATA`` is as for `study.real_data`. The output has

- ``eval``: smaller copies of the tasks (`evaluation.tasks.smaller`); texts with labels are classification and clustering;
- ``development``: tasks to choose settings by, made of texts that no task of ``eval`` has;
- ``mix.yaml``: training files whose texts are short, without the rows of ``development``.

Equal data give equal files.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError, exit_status
from common.files import new_folder
from evaluation.tasks.local_files import iter_rows, stem, write_rows
from evaluation.tasks.local_folder import list_folder
from evaluation.tasks.schemas import SCHEMAS, TaskRow
from evaluation.tasks.smaller import drawn, drawn_by_label, make_smaller
from study.real_data.layout import CLUSTERINGS, MOST_ROWS, make_clustering, mix_entry, training_files, write_mix

ROWS, QUERIES = 100, 50
CLUSTERED = 200  # texts to cluster: some tasks have 64 labels
EXAMPLES = 8  # of each label, to train classifiers by
DEVELOPMENT_ROWS = 200
# Clusterings that are classification tasks too: fewer than eight have sources of their own.
CLASSIFICATIONS = {
    "FewRelClassification": "FewRelClustering",
    "SearchSnippetsClassification": "SearchSnippetsClustering",
    "TwentyNewsgroupsSubjectsClassification": "TwentyNewsgroupsSubjectsClustering",
}
# Development data: of other sources than the tasks of the study.
PAIRS = ("PARADEPC", "validation")
LABELLED = "Banking77Classification"
QUESTIONS = "squad_question_sentence"
DEVELOPMENT_TASKS = (PAIRS[0], LABELLED)
# Thirty-two tokens hold a small part of their texts.
LONG = ("medquad", "openstax_heading_paragraph", "scifact_train", "stackexchange_title_answer")


@dataclass(frozen=True)
class Layout:
    """Folders and files that the command makes."""

    evaluation: Path
    development: Path
    training: Path
    mix: Path


def lay_out(data: Path, output_dir: Path) -> Layout:
    """Make everything anew; nothing may be there.

    Args:
        data: holds ``eval`` and ``train``.
        output_dir: a new folder.

    Raises:
        UserError: ``data`` lacks something, or ``output_dir`` is not empty.
    """
    tasks = sorted(path for path in (data / "eval").glob("*/") if path.name not in DEVELOPMENT_TASKS)
    questions = _training_file(data, QUESTIONS)
    if not tasks:
        raise UserError(f"{data} has no eval/<task> folders")
    with new_folder(output_dir) as aside:
        for task in tasks:
            rows = CLUSTERED if list_folder(task).schema is SCHEMAS["clustering"] else ROWS
            make_smaller(task, aside / "eval" / task.name, rows, QUERIES, EXAMPLES)
        for name, source in CLUSTERINGS.items():
            make_clustering(aside / "eval" / name, aside / "eval" / source)
        for name, source in CLASSIFICATIONS.items():
            make_classification(aside / "eval" / name, data / "eval" / source)
        _make_development(aside / "development", data)
        held_out = _make_retrieval(aside / "development" / "SquadSentences", questions)
        write_rows(aside / "train" / f"{QUESTIONS}.jsonl.gz", _without(questions, held_out))
    layout = Layout(output_dir / "eval", output_dir / "development", output_dir / "train", output_dir / "mix.yaml")
    write_mix(layout.mix, _mix(data, layout.training))
    return layout


def _training_file(data: Path, label: str) -> Path:
    for file in training_files(data):
        if stem(file) == label:
            return file
    raise UserError(f"{data}/train has no {label}.jsonl(.gz): questions with the sentences that answer them")


def make_classification(folder: Path, source: Path) -> None:
    """Write a classification task of a clustering task's texts: by a hash of the text, one half trains, one is scored."""
    halves: dict[str, list[TaskRow]] = {"train": [], "test": []}
    for row in iter_rows(source / "test.jsonl.gz", SCHEMAS["clustering"].columns):
        is_even = hashlib.sha256(row["sentence"].encode()).digest()[0] % 2 == 0
        halves["test" if is_even else "train"].append({"text": row["sentence"], "label": row["label"]})
    write_rows(folder / "train.jsonl.gz", drawn_by_label(halves["train"], EXAMPLES))
    write_rows(folder / "test.jsonl.gz", drawn(halves["test"], ROWS))


def _make_development(folder: Path, data: Path) -> None:
    """Write the tasks of pairs and of labelled texts."""
    name, split = PAIRS
    pairs = iter_rows(data / "eval" / name / f"{split}.jsonl.gz", SCHEMAS["pair"].columns)
    write_rows(folder / name / "test.jsonl.gz", drawn(pairs, DEVELOPMENT_ROWS))
    labelled = iter_rows(data / "eval" / LABELLED / "test.jsonl.gz", SCHEMAS["classification"].columns)
    sentences = [{"sentence": row["text"], "label": row["label"]} for row in drawn(labelled, DEVELOPMENT_ROWS)]
    write_rows(folder / "Banking77Clustering" / "test.jsonl.gz", sentences)


def _make_retrieval(folder: Path, questions: Path) -> set[str]:
    """Write a retrieval task of questions and sentences; return the sentences, which training leaves out."""
    asked = drawn(iter_rows(questions), DEVELOPMENT_ROWS)
    sentences = list(dict.fromkeys(row["positive"] for row in asked))
    documents = [{"id": f"d{place}", "text": text} for place, text in enumerate(sentences)]
    queries = [{"id": f"q{place}", "text": row["query"]} for place, row in enumerate(asked[:QUERIES])]
    judgements = []
    for place, row in enumerate(asked[:QUERIES]):
        judgements.append({"query-id": f"q{place}", "corpus-id": f"d{sentences.index(row['positive'])}", "score": 1})
    write_rows(folder / "corpus.jsonl.gz", documents)
    write_rows(folder / "queries.jsonl.gz", queries)
    write_rows(folder / "qrels.test.jsonl.gz", judgements)
    return set(sentences)


def _without(questions: Path, held_out: set[str]) -> list[TaskRow]:
    """Return the rows none of whose texts is held out."""
    kept = []
    for row in iter_rows(questions):
        if row["positive"] not in held_out and held_out.isdisjoint(row.get("negative") or []):
            kept.append(row)
    return kept


def _mix(data: Path, training: Path) -> list[dict[str, object]]:
    """Return the entries of the mix: short texts, and the questions without those that are held out."""
    entries = []
    for file in training_files(data):
        if stem(file) not in LONG:
            without_held_out = training / f"{QUESTIONS}.jsonl.gz"
            entries.append(mix_entry(without_held_out if stem(file) == QUESTIONS else file, MOST_ROWS))
    return entries


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and lay out; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with eval/ and train/")
    parser.add_argument("--output_dir", type=Path, required=True, help="a new folder")
    args = parser.parse_args(argv)

    def work() -> None:
        layout = lay_out(args.data, args.output_dir)
        print(f"tasks in {layout.evaluation}, development tasks in {layout.development}, training data in {layout.mix}")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
