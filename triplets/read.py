"""Training data in, checked triplets out, on disk as Arrow.

Rows are streamed through the checks into one Arrow file, which is then mapped into memory: data larger than memory works.
The file is named after a hash of the data's content and of what was asked for, so that a changed file is never read from
an old copy. Nothing is drawn at random: rows keep the order of the files (by name) and of the lines in them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import first_line, neighbour
from model_loaders.hub import looks_local
from triplets.arguments import DataArguments, data_sets, evaluation_set
from triplets.batch_plan import apportion, repeated
from triplets.data_sets import DataSet
from triplets.dataset import Part, TripletRows
from triplets.formats import data_files, is_data_file, rows
from triplets.triplet import InvalidRowError, Report, Triplet, triplets_of

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

FORMAT = 2  # of the prepared file; part of its name
EXAMPLES = 5  # invalid rows that an error shows
BATCH_ROWS = 1000  # rows of one Arrow record batch
DEFAULT_SPLITS = (DataArguments.dataset_split, DataArguments.eval_dataset_split)


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where rows come from: what to call it, hashes of its content with and without its name, and the rows with places."""

    name: str
    fingerprint: str
    content: str
    rows: Callable[[], Iterator[tuple[str, Any]]]


def read_triplets(data: DataArguments, *, cache_dir: str | Path | None = None) -> TripletRows:
    """Read the training triplets.

    Args:
        data: which data (``dataset_name``, ``dataset_file_path`` or ``dataset_config``), and what to do with invalid rows;
            ``max_train_samples`` takes the first N triplets, and nothing after them is read.
        cache_dir: where the prepared files go; None for the Hugging Face datasets cache.

    Returns:
        The data sets behind each other. Their columns are ``query: str``, ``positive: str``, ``negatives: list[str]`` (0..k
        a row) and ``place: str`` (``file:line``, or ``name[split]:row N``). A row with several positives has become as
        many triplets, one after the other.

    Raises:
        UserError: no such data, a damaged line, invalid rows, or no rows at all.
    """
    chosen = data_sets(data)
    read = [_read(one, data.on_invalid_rows, cache_dir) for one in chosen]
    sizes = [len(rows) for rows, _, _ in read]
    if any(one.weight is not None for one in chosen):
        taken = apportion(sum(sizes), [one.weight or 0.0 for one in chosen])
    else:
        taken = [repeated(size, one.repeat or 1.0) for one, size in zip(chosen, sizes, strict=True)]
    for one, count in zip(chosen, taken, strict=True):
        if count == 0:
            raise UserError(
                f"{one.label}: its weight of {one.weight} is less than one of an epoch's {sum(sizes)} rows; raise it"
            )
    return TripletRows([_part(one, *found, count) for one, found, count in zip(chosen, read, taken, strict=True)])


def read_eval_triplets(data: DataArguments, *, cache_dir: str | Path | None = None) -> TripletRows | None:
    """Read the triplets of ``eval_dataset``, as `read_triplets` does; None if there is none."""
    chosen = evaluation_set(data)
    if chosen is None:
        return None
    rows, report, content = _read(chosen, data.on_invalid_rows, cache_dir)
    return TripletRows([_part(chosen, rows, report, content, len(rows))])


def _part(one: DataSet, rows: Dataset, report: Report, content: str, taken: int) -> Part:
    counts = tuple(report.negatives)
    return Part(rows, one.label, taken, one.query_prompt, one.document_prompt, one.in_batch_negatives, counts, content)


def _read(one: DataSet, on_invalid_rows: str, cache_dir: str | Path | None) -> tuple[Dataset, Report, str]:
    from datasets import Dataset

    source = _locate(one.name, one.file, one.split, cache_dir)
    # Whether rows need negatives decides which of them are invalid.
    asked = [on_invalid_rows, one.max_negatives, one.max_train_samples, one.in_batch_negatives]
    key, content = (
        hashlib.blake2b(json.dumps([FORMAT, source_hash, *asked]).encode(), digest_size=16).hexdigest()
        for source_hash in (source.fingerprint, source.content)
    )
    folder = _cache_folder(cache_dir)
    arrow, beside = folder / f"{key}.arrow", folder / f"{key}.json"
    if not (arrow.exists() and beside.exists()):
        _prepare(source, arrow, beside, one=one, on_invalid_rows=on_invalid_rows)
    report = Report(**json.loads(beside.read_text(encoding="utf-8")))
    _say(source.name, report)
    return Dataset.from_file(str(arrow)), report, content


def _locate(name: str | None, file_path: str | None, split: str, cache_dir: str | Path | None) -> _Source:
    """Find the data: an existing local path wins, then the hub."""
    if name is None:
        if file_path is None:
            raise UserError("no data is named: give --dataset_name (hub name, local file or folder)")
        return _local(_existing(file_path), split)
    path = Path(name).expanduser()
    if path.is_dir() and file_path is not None:
        return _local(_existing(str(path / file_path)), split)
    if path.exists():
        if file_path is not None:
            raise UserError(f"--dataset_name {name} and --dataset_file_path {file_path} are both files: give one of them")
        return _local(path, split)
    if looks_local(name) or is_data_file(name):
        return _local(_existing(name), split)
    return _hub(name, file_path, split, cache_dir)


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(f"there is no data file or folder {name}{neighbour(path)}")
    return path


def _local(path: Path, split: str) -> _Source:
    if path.is_file() and split not in DEFAULT_SPLITS:
        raise UserError(f"{path} is one file, in which there is no split {split!r}: leave the split out")
    files = data_files(path, split)
    named, content = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "blake2b").digest()
            named.update(str(file).encode() + digest)  # the messages that are kept with the prepared data say the name
            content.update(digest)
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    if path.is_dir():
        logger.info("%s: %d data files: %s", path, len(files), ", ".join(file.name for file in files))
    return _Source(str(path), named.hexdigest(), content.hexdigest(), lambda: (row for file in files for row in rows(file)))


def _hub(name: str, file_path: str | None, split: str, cache_dir: str | Path | None) -> _Source:
    """Load a data set of the hub through ``datasets``, after one quick question whether the hub knows it."""
    import datasets
    import huggingface_hub

    try:
        if not datasets.config.HF_HUB_OFFLINE:
            # load_dataset alone tries six times, half a minute, before it says that there is no network.
            huggingface_hub.HfApi().dataset_info(name, timeout=10)
        found = datasets.load_dataset(name, data_files=file_path, split=split, cache_dir=str(cache_dir) if cache_dir else None)
    except Exception as error:
        # The hub client and datasets raise many kinds (HTTP status, connection, split, format, not in the cache).
        raise UserError(
            f"{name!r} is no file or folder here, and could not be had from the hub as a data set (split {split!r}"
            f"{f', file {file_path}' if file_path else ''}): {first_line(error)}. Check the name and the network; if "
            "it was downloaded before, HF_HUB_OFFLINE=1 takes the copy in the cache; or give a local file or folder "
            f"as --dataset_name{neighbour(Path(name))}."
        ) from error
    prefix = f"{name}[{split}]"

    def numbered() -> Iterator[tuple[str, Any]]:
        for number, row in enumerate(found, start=1):
            yield f"{prefix}:row {number}", row

    fingerprint = f"{prefix} {file_path} {found._fingerprint}"
    return _Source(prefix, fingerprint, fingerprint, numbered)


def _cache_folder(cache_dir: str | Path | None) -> Path:
    if cache_dir is None:
        from datasets.config import HF_DATASETS_CACHE

        cache_dir = HF_DATASETS_CACHE
    folder = Path(cache_dir).expanduser() / "triplets"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"prepared data cannot be kept in {folder}: {error.strerror or error}; give --cache_dir") from error
    return folder


def _prepare(source: _Source, arrow: Path, beside: Path, *, one: DataSet, on_invalid_rows: str) -> None:
    """Write the Arrow file and its report under other names, then rename them: whole or not at all.

    Several processes may do so at once; each writes its own, and the last rename wins with the same content.
    """
    handle, unfinished = tempfile.mkstemp(dir=arrow.parent, prefix=f"{arrow.stem}.", suffix=".unfinished")
    os.close(handle)
    try:
        report = Report()
        _write(Path(unfinished), _checked(source, report, one))
        _judge(source.name, report, on_invalid_rows)
        finished_report = Path(f"{unfinished}.json")
        finished_report.write_text(json.dumps(dataclasses.asdict(report)), encoding="utf-8")
        finished_report.replace(beside)
        Path(unfinished).replace(arrow)
    except OSError as error:
        raise UserError(f"prepared data cannot be written to {arrow.parent}: {error.strerror or error}; "
                        "give --cache_dir") from error  # fmt: skip
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _checked(source: _Source, report: Report, one: DataSet) -> Iterator[Triplet]:
    """Yield valid triplets, at most ``max_train_samples``, and count the others in ``report``."""
    for where, row in source.rows():
        report.rows += 1
        try:
            triplets = triplets_of(row, report, one.max_negatives, in_batch=one.in_batch_negatives, place=where)
        except InvalidRowError as error:
            report.invalid += 1
            if len(report.examples) < EXAMPLES:
                report.examples.append(f"{where}: {error}")
            continue
        for triplet in triplets:
            yield triplet
            report.triplets += 1
            count = len(triplet.negatives)
            report.negatives += [0] * (count + 1 - len(report.negatives))
            report.negatives[count] += 1
            if report.triplets == one.max_train_samples:
                return


def _write(path: Path, triplets: Iterator[Triplet]) -> None:
    """Write an Arrow stream in batches of `BATCH_ROWS`; memory holds one of them."""
    import pyarrow as pa  # type: ignore[import-untyped]

    schema = pa.schema(
        {"query": pa.string(), "positive": pa.string(), "negatives": pa.list_(pa.string()), "place": pa.string()}
    )
    batch: list[dict[str, Any]] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for triplet in triplets:
            batch.append(dataclasses.asdict(triplet))
            if len(batch) == BATCH_ROWS:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch.clear()
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _judge(name: str, report: Report, on_invalid_rows: str) -> None:
    """Raise `UserError` for invalid rows, or when nothing is left."""
    shown = "".join(f"\n  {example}" for example in report.examples)
    more = f"\n  ... and {report.invalid - len(report.examples)} more" if report.invalid > len(report.examples) else ""
    if report.rows == 0:
        raise UserError(f"{name}: there is no row in it")
    if report.triplets == 0:
        raise UserError(f"{name}: none of the {report.rows} rows can be used:{shown}{more}")
    if report.invalid and on_invalid_rows == "error":
        raise UserError(f"{name}: {report.invalid} of {report.rows} rows cannot be used:{shown}{more}\n"
                        "Correct them, or leave them out with --on_invalid_rows skip.")  # fmt: skip


def _say(name: str, report: Report) -> None:
    logger.info("%s: %d triplets from %d rows", name, report.triplets, report.rows)
    if report.invalid:
        logger.warning("%s: %d of %d rows skipped, the first: %s", name, report.invalid, report.rows, report.examples[0])
    if report.misspelt:
        logger.warning("%s: the key 'postive' of %d rows was taken for 'positive'; rename it", name, report.misspelt)
    if report.several_positives:
        logger.warning("%s: %d rows have several positives; each became a triplet", name, report.several_positives)
    if report.ignored_keys:
        logger.info("%s: keys that are not read: %s", name, ", ".join(report.ignored_keys))
