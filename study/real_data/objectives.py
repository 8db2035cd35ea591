"""Training data of the studies of objectives: one file of triplets to mine in, and a blend with labelled texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_whole
from common.text_hash import text_hashes
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import LocalFolder, list_folder
from study.real_data.layout import mix_entry, training_files, write_mix
from triplets.arguments import DataArguments
from triplets.check.overlap import texts_to_leave_out
from triplets.conversion.classes import ClassRows, Draws, read_classes
from triplets.conversion.result import ConversionReport, GivenRows, Row, RowMaker, key_of, write_rows
from triplets.conversion.similarity import Limits, SimilarRows, read_pairs
from triplets.conversion.store import Store, working
from triplets.read import read_triplets

HIGH_SCORE, LOW_SCORE = 4.0, 2.5  # of a positive at least, of a negative at most (NV-Embed, section 4.1)
SUBSETS = ("default", "en")  # one training file a task
MINED = ("mined", "random")  # negatives of the triplets in train.jsonl
HELD_OUT = 200  # rows of each training file


def lay_out_objectives(data: Path, output_dir: Path, most_rows: int) -> tuple[Path, Path]:
    """Make ``train.jsonl``, the mix's triplets in one file, and ``blend.yaml``: the mix and triplets of labelled texts.

    ``held_out.jsonl`` has texts of the same files that stand in no training row. ``mined.yaml`` and ``random.yaml`` name files
    that `triplets.mine` makes of ``train.jsonl``.

    Args:
        data: holds ``eval`` and ``train``.
        output_dir: gets them; it has ``mix.yaml`` and ``eval`` already.
        most_rows: of each data set.

    Returns:
        The file of triplets, and the blend.

    Raises:
        UserError: a file cannot be read, or no task has training rows.
    """
    one_file = output_dir / "train.jsonl"
    facts: Row = {"data": str(data)}
    with working(one_file, facts, [output_dir / "mix.yaml", *training_files(data)]) as store:
        write_rows(GivenRows(triplets_of(output_dir / "mix.yaml")), store, one_file, ConversionReport(), facts)
    write_held_out(data, most_rows, output_dir / "mix.yaml", output_dir / "held_out.jsonl")
    for name in MINED:
        write_mix(output_dir / f"{name}.yaml", [{"name": str((output_dir / f"{name}.jsonl").resolve()), "label": name}])
    tasks = [list_folder(folder) for folder in sorted((data / "eval").glob("*/"))]
    tests: list[Path] = []
    for task in tasks:
        tests += [files["test"] for files in task.subsets("test").values()]
    leave_out = texts_to_leave_out(tests)
    entries = []
    for task in tasks:
        file = training_file(task)
        if file is not None:
            entries.append(labelled_entry(task, file, output_dir / "labelled", leave_out, most_rows))
    if not entries:
        raise UserError(f"{data / 'eval'}: no classification and no STS task has a file of training rows (train.jsonl)")
    blend = output_dir / "blend.yaml"
    write_mix(blend, [mix_entry(file, most_rows) for file in training_files(data)] + entries)
    return one_file, blend


def triplets_of(mix: Path) -> Iterator[dict[str, Any]]:
    """Yield the triplets of a mix, without rows that are not valid."""
    rows = read_triplets(DataArguments(dataset_config=str(mix), on_invalid_rows="skip"))
    for number in range(len(rows)):
        row = rows[number]
        yield {"query": row["query"], "positive": row["positive"], "negative": list(row["negatives"])}


def write_held_out(data: Path, most_rows: int, mix: Path, output: Path) -> None:
    """Write the texts of some rows behind the training rows of each file, without texts that stand in a training row."""
    known: set[int] = set()
    for row in triplets_of(mix):
        texts = [row["query"], row["positive"], *row["negative"]]
        known.update(text_hashes(texts).tolist())
    kept: dict[str, None] = {}
    for file in training_files(data):
        for line in islice(iter_rows(file), most_rows, most_rows + HELD_OUT):
            for text in (line.get("query"), line.get("positive")):
                if isinstance(text, str) and text.strip() and key_of(text) not in known:
                    kept[text] = None
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in kept]
    write_whole(output, "".join(lines))


def training_file(task: LocalFolder) -> Path | None:
    """Return the training rows of a classification or STS task; None for other tasks and for those without any."""
    if task.schema.kind not in ("classification", "sts"):
        return None
    subsets = task.subsets("train")
    return next((subsets[name]["train"] for name in SUBSETS if name in subsets), None)


def labelled_entry(task: LocalFolder, file: Path, folder: Path, leave_out: set[int], most_rows: int) -> dict[str, object]:
    """Write the triplets of a task's training rows; return their entry in the blend."""
    report, output = ConversionReport(), folder / f"{task.path.name}.jsonl"
    output.parent.mkdir(exist_ok=True)
    facts: Row = {"input": str(file)}
    with working(output, {**facts, "most_rows": most_rows}, [file]) as store:
        write_rows(labelled_rows(task, store, report, leave_out, most_rows), store, output, report, facts)
    return {**mix_entry(output, most_rows), "label": task.path.name}


def labelled_rows(task: LocalFolder, store: Store, report: ConversionReport, leave_out: set[int], most_rows: int) -> RowMaker:
    """Return the maker of the triplets of a task's training rows: classes by example, scored pairs in both directions."""
    file = training_file(task)
    assert file is not None
    if task.schema.kind == "classification":
        classes = read_classes(file, store, report, leave_out)
        each = max(1, most_rows // max(1, len(classes.names())))
        return ClassRows(classes, Draws("example", 1, each, 0), report)
    return SimilarRows(read_pairs(file, store, report, leave_out), Limits(HIGH_SCORE, LOW_SCORE, 1), report)
