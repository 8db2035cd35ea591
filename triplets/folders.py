"""The data files of a folder: which are read, and to which split a name says that they belong."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

from common.errors import UserError
from common.files import listing
from triplets.formats import FOLDER_SUFFIXES, SUFFIXES, is_data_file

SPLITS = {
    "train": ("train", "training", "trainset"),
    "validation": ("validation", "valid", "val", "validset", "valset", "dev", "devset"),
    "test": ("test", "testing", "testset"),
    "eval": ("eval", "evaluation", "evalset"),
}
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
# Between separators, a number may follow: train-00000-of-00002.parquet, nq_test2.jsonl, data.dev.csv; not contest.jsonl.
_SPLIT_WORD = re.compile(rf"(?:^|[-_. ])({'|'.join(_SPLIT_OF)})(?![^\W\d_])", re.IGNORECASE)
_JUDGEMENTS = re.compile(r"qrels(?![^\W\d_])", re.IGNORECASE)  # BEIR's qrels/test.tsv: names of texts and no texts
_ABOUT_DATA = re.compile(r"dataset_infos?\.json|.*\.report\.json", re.IGNORECASE)  # files that nobody takes for data
logger = logging.getLogger(__name__)


def data_files(path: Path, split: str | None = None) -> list[Path]:
    """Return the data files that ``path`` stands for, in the order in which they are read.

    A folder stands for all its data files, subfolders included, in the order of their names. Where the name of one, or of a
    folder in which it stands, has the word of a split (``test.jsonl``, ``nq-test.csv``, ``test/0000.parquet``), only those
    of ``split`` count, so that a folder that holds a whole data set is not trained on with its test set; other files then
    count for ``train``. JSON files and tables of judgements in a folder are not read; a line says so.

    Args:
        path: a file or a folder.
        split: the split to read; None where it makes no difference.

    Raises:
        UserError: a file of another format, or a folder without data files (of this split).
    """
    if not path.is_dir():
        if not is_data_file(path.name):
            raise UserError(f"{path}: no data format is known by this name; it must end in {', '.join(SUFFIXES)}")
        return [path]
    files, unread = _files_in(path)
    if not files:
        hint = f"; {', '.join(file.name for file in unread[:8])}: read only where it is named itself" if unread else ""
        raise UserError(f"{path}: no data files ({', '.join(FOLDER_SUFFIXES)}) in this folder; it holds {listing(path)}{hint}")
    if unread:
        logger.warning("%s: not read, unless it is named itself: %s", path, _names(unread, path))
    splits = [_split_of(file, path) for file in files]
    if split is None or not any(splits):
        return files
    wanted = _SPLIT_OF.get(split.lower(), split)
    files_of_split = [file for file, own in zip(files, splits, strict=True) if (own or "train") == wanted]
    if not files_of_split:
        raise UserError(
            f"{path}: none of the {len(files)} data files belongs to the split {split!r}: {_names(files, path)}. A file "
            "that is named itself is read whatever its name"
        )
    return files_of_split


def training_files(path: Path) -> list[Path]:
    """Return the files of `data_files` that training reads, and print which they are, where ``path`` is a folder.

    Raises:
        UserError: a file of another format, or a folder without data files of the split ``train``.
    """
    files = data_files(path, "train")
    if path.is_dir():
        print(f"{path}: data files that are read: {_names(files, path)}", file=sys.stderr)
    return files


def _files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the data files in a folder, and those that look like some and are not read, both sorted.

    Files and folders whose names begin with a dot are left out.
    """
    files, unread = [], []
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if not is_data_file(file.name) or any(part.startswith(".") for part in parts) or not file.is_file():
            continue
        judgements = file.name.lower().endswith((".tsv", ".tsv.gz")) and any(map(_JUDGEMENTS.match, parts))
        if file.name.lower().endswith(FOLDER_SUFFIXES) and not judgements:
            files.append(file)
        elif not _ABOUT_DATA.fullmatch(file.name):
            unread.append(file)
    return files, unread


def _names(files: list[Path], folder: Path) -> str:
    """Return some names of files as they stand in a folder, for messages."""
    names = ", ".join(str(file.relative_to(folder)) for file in files[:8])
    return f"{names}, …" if len(files) > 8 else names


def _split_of(file: Path, folder: Path) -> str:
    """Return the split after which a file of a folder is named, else the nearest folder between them; empty for none."""
    for part in reversed(file.relative_to(folder).parts):
        match = _SPLIT_WORD.search(part)
        if match is not None:
            return _SPLIT_OF[match.group(1).lower()]
    return ""
