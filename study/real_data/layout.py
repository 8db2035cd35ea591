"""Links to task folders, or shorter copies; clustering tasks made of classification tasks; a mix of training files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import yaml

from common.errors import UserError
from evaluation.tasks.local_files import iter_rows, stem, write_rows
from evaluation.tasks.local_folder import list_folder
from evaluation.tasks.schemas import SCHEMAS, Layout, TaskRow

# Texts with labels are a clustering task too; fewer than five have sources of their own.
CLUSTERINGS = {"NewsClustering": "NewsClassification"}
# Rows of each training file at most: no source is more than a few times as large as another one.
MOST_ROWS = 6000
# Too small to fill a batch, or the same texts as another file.
WITHOUT = ("covid_faq", "stackexchange_title_body", "wikisplit", "gsm8k")


def lay_out(data: Path, output_dir: Path, *, most_rows: int = MOST_ROWS, most_texts: int | None = None) -> tuple[Path, Path]:
    """Make the folder of tasks and the mix of training files; what is there is made anew.

    Args:
        data: holds ``eval`` and ``train``.
        output_dir: gets ``eval`` and ``mix.yaml``.
        most_rows: of each training file.
        most_texts: rows of a test file at most; None for all. Retrieval is never cut: another corpus is another task.

    Returns:
        The folder of tasks and the mix.

    Raises:
        UserError: ``data`` holds something else.
    """
    tasks = sorted((data / "eval").glob("*/"))
    files = training_files(data)
    if not tasks or not files:
        raise UserError(f"{data} has no eval/<task> folders or no train/*.jsonl files")
    evaluation = output_dir / "eval"
    evaluation.mkdir(parents=True, exist_ok=True)
    if evaluation.resolve() == (data / "eval").resolve():
        raise UserError(
            f"--output_dir: {evaluation} is the data's own folder, which would be replaced by links: give another one"
        )
    for task in tasks:
        link(evaluation / task.name, task)
    for name, source in CLUSTERINGS.items():
        if (data / "eval" / source).is_dir() and not (data / "eval" / name).is_dir():
            make_clustering(evaluation / name, data / "eval" / source)
    if most_texts is not None:
        for folder in sorted(evaluation.glob("*/")):
            shorten(folder, most_texts)
    mix = output_dir / "mix.yaml"
    write_mix(mix, [mix_entry(file, most_rows) for file in files])
    return evaluation, mix


def training_files(data: Path) -> list[Path]:
    """Return the training files of a folder of real data, without those that are too small or stand there twice."""
    files = sorted((data / "train").glob("*.jsonl*"))
    return [file for file in files if stem(file) not in WITHOUT]


def mix_entry(file: Path, most_rows: int) -> dict[str, object]:
    """Return a training file's entry in a mix."""
    return {"name": str(file.resolve()), "label": stem(file), "max_train_samples": most_rows, "max_negatives": 1}


def write_mix(path: Path, entries: list[dict[str, object]]) -> None:
    """Write a file for ``--dataset_config``."""
    path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def link(place: Path, target: Path) -> None:
    """Make a link, in place of an older one or of a shorter copy."""
    if place.is_symlink():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)
    place.symlink_to(target.resolve(), target_is_directory=True)


def make_clustering(folder: Path, source: Path) -> None:
    """Write a clustering task of a classification task's test texts; equal rows make equal files."""
    rows: list[TaskRow] = []
    for row in iter_rows(source / "test.jsonl.gz", SCHEMAS["classification"].columns):
        rows.append({"sentence": row["text"], "label": row["label"]})
    write_rows(folder / "test.jsonl.gz", rows)


def shorten(folder: Path, most_texts: int) -> None:
    """Put a copy in a task's place whose test files have at most ``most_texts`` rows, at equal distances.

    Retrieval stays whole, and so does a task that is short enough.
    """
    task = list_folder(folder)
    if task.schema.layout is Layout.CORPUS:
        return
    shorter: dict[str, list[TaskRow]] = {}
    for files in task.subsets("test").values():
        rows = list(iter_rows(files["test"]))
        if len(rows) > most_texts:
            places = np.linspace(0, len(rows), most_texts, endpoint=False).astype(int)
            shorter[files["test"].name] = [rows[place] for place in places]
    if not shorter:
        return
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for file in task.content:
        if file.name not in shorter:
            shutil.copyfile(file, aside / file.name)
    for name, rows in shorter.items():
        write_rows(aside / f"{name.removesuffix('.gz')}.gz", rows)
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)
    aside.rename(folder)
