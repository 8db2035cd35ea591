"""Training data as checked triplets on disk, in Arrow files.

Rows are streamed through the checks into one Arrow file, which is then mapped into memory: data larger than memory works.
The file is named after a hash of the data's content and of the options, so that a changed file is never read from an old
copy. Nothing is drawn at random: rows keep the order of the files (by name) and of the lines in them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa  # type: ignore[import-untyped]

from common.errors import UserError
from common.files import first_line, neighbour, write_whole
from model_loaders.hub import looks_local
from triplets.arguments import DataArguments, data_sets, evaluation_set
from triplets.batch_plan import apportion, repeated
from triplets.data_sets import DataSet
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.formats import PlacedRow, data_files, is_data_file, rows
from triplets.triplet import InvalidRowError, ReadReport, Triplet, triplets_of

logger = logging.getLogger(__name__)

FORMAT = 2  # of the prepared file; part of its name
EXAMPLES = 5  # invalid rows that an error shows
BATCH_ROWS = 1000  # rows of one Arrow record batch
HUB_TIMEOUT = 10  # seconds
DEFAULT_SPLITS = (DataArguments.dataset_split, DataArguments.eval_dataset_split)
SCHEMA = pa.schema({"query": pa.string(), "positive": pa.string(), "negatives": pa.list_(pa.string()), "place": pa.string()})


@dataclass(frozen=True)
class DataSource:
    """Rows of a data set before any check.

    Attributes:
        name: for messages.
        fingerprint: hash of the content and its name.
        content: hash of the content alone.
        rows: yields the rows with their places.
    """

    name: str
    fingerprint: str
    content: str
    rows: Callable[[], Iterator[PlacedRow]]


@dataclass(frozen=True)
class PreparedData:
    """A data set after the checks.

    Attributes:
        rows: mapped from the Arrow file.
        report: counts of the reading.
        content: hash of the content and of the options that it was read with.
    """

    rows: datasets.Dataset
    report: ReadReport
    content: str


def read_triplets(data: DataArguments, *, cache_dir: str | Path | None = None) -> TripletRows:
    """Read the training triplets.

    Args:
        data: names the data (``dataset_name``, ``dataset_file_path`` or ``dataset_config``) and the treatment of invalid
            rows; ``max_train_samples`` takes the first N triplets, and nothing after them is read.
        cache_dir: folder for the prepared files; None for the Hugging Face datasets cache.

    Returns:
        The data sets behind each other. Their columns are ``query: str``, ``positive: str``, ``negatives: list[str]`` (0..k
        a row) and ``place: str`` (``file:line``, or ``name[split]:row N``). A row with several positives becomes several
        triplets, one after the other.

    Raises:
        UserError: no such data, a damaged line, invalid rows, or no rows at all.

    >>> from triplets.arguments import DataArguments
    >>> rows = read_triplets(DataArguments(dataset_name=str(triplets)), cache_dir=scratch)
    >>> sorted(rows[0])
    ['document_prompt', 'in_batch', 'negatives', 'place', 'positive', 'query', 'query_prompt']
    """
    described = data_sets(data)
    prepared = [_read(data_set, data.on_invalid_rows, cache_dir) for data_set in described]
    sizes = [len(loaded.rows) for loaded in prepared]
    parts = []
    for data_set, loaded, taken in zip(described, prepared, _rows_an_epoch(described, sizes), strict=True):
        if taken == 0:
            raise UserError(
                f"{data_set.label}: its weight of {data_set.weight} is less than one of an epoch's {sum(sizes)} rows; raise it"
            )
        parts.append(_loaded(data_set, loaded, taken))
    return TripletRows(parts)


def read_eval_triplets(data: DataArguments, *, cache_dir: str | Path | None = None) -> TripletRows | None:
    """Read the triplets of ``eval_dataset``, as `read_triplets` does; None if there is none."""
    data_set = evaluation_set(data)
    if data_set is None:
        return None
    prepared = _read(data_set, data.on_invalid_rows, cache_dir)
    return TripletRows([_loaded(data_set, prepared, len(prepared.rows))])


def _rows_an_epoch(described: Sequence[DataSet], sizes: Sequence[int]) -> list[int]:
    """Return the number of rows that an epoch takes of each data set, by weights or repeats."""
    if any(data_set.weight is not None for data_set in described):
        return apportion(sum(sizes), [data_set.weight or 0.0 for data_set in described])
    return [repeated(size, data_set.repeat or 1.0) for data_set, size in zip(described, sizes, strict=True)]


def _loaded(data_set: DataSet, prepared: PreparedData, taken: int) -> LoadedDataSet:
    return LoadedDataSet(
        rows=prepared.rows,
        label=data_set.label,
        taken=taken,
        query_prompt=data_set.query_prompt,
        document_prompt=data_set.document_prompt,
        in_batch=data_set.in_batch_negatives,
        negatives=tuple(prepared.report.negatives),
        content=prepared.content,
    )


def _read(data_set: DataSet, on_invalid_rows: str, cache_dir: str | Path | None) -> PreparedData:
    """Open the prepared files of a data set; make them first if they do not exist."""
    source = _locate(data_set, cache_dir)
    # in_batch_negatives belongs here: without them a row needs negatives of its own to be valid.
    options = [on_invalid_rows, data_set.max_negatives, data_set.max_train_samples, data_set.in_batch_negatives]
    key = _hash_of([FORMAT, source.fingerprint, *options])
    folder = _cache_folder(cache_dir)
    arrow, report_file = folder / f"{key}.arrow", folder / f"{key}.json"
    if not (arrow.exists() and report_file.exists()):
        _prepare(source, data_set, on_invalid_rows, arrow, report_file)
    report = ReadReport(**json.loads(report_file.read_text(encoding="utf-8")))
    _log(source.name, report)
    content = _hash_of([FORMAT, source.content, *options])
    return PreparedData(datasets.Dataset.from_file(str(arrow)), report, content)


def _hash_of(facts: Sequence[object]) -> str:
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _locate(data_set: DataSet, cache_dir: str | Path | None) -> DataSource:
    """Find the data: an existing local path wins, then the hub."""
    name, file, split = data_set.name, data_set.file, data_set.split
    if name is None:
        if file is None:
            raise UserError("no data is named: give --dataset_name (hub name, local file or folder)")
        return _local(_existing(file), split)
    path = Path(name).expanduser()
    if path.is_dir() and file is not None:
        return _local(_existing(str(path / file)), split)
    if path.exists():
        if file is not None:
            raise UserError(f"--dataset_name {name} and --dataset_file_path {file} are both files: give one of them")
        return _local(path, split)
    if looks_local(name) or is_data_file(name):
        return _local(_existing(name), split)
    return _hub(name, file, split, cache_dir)


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(f"there is no data file or folder {name}{neighbour(path)}")
    return path


def _local(path: Path, split: str) -> DataSource:
    if path.is_file() and split not in DEFAULT_SPLITS:
        raise UserError(f"{path} is one file, in which there is no split {split!r}: leave the split out")
    files = data_files(path, split)
    with_names, content = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "blake2b").digest()
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
        with_names.update(str(file).encode() + digest)  # the report that is kept with the prepared data names files
        content.update(digest)
    if path.is_dir():
        logger.info("%s: %d data files: %s", path, len(files), ", ".join(file.name for file in files))

    def rows_of_files() -> Iterator[PlacedRow]:
        for file in files:
            yield from rows(file)

    return DataSource(str(path), with_names.hexdigest(), content.hexdigest(), rows_of_files)


def _hub(name: str, file: str | None, split: str, cache_dir: str | Path | None) -> DataSource:
    """Load a data set of the hub through ``datasets``, after one quick question whether the hub knows it."""
    try:
        if not datasets.config.HF_HUB_OFFLINE:
            # load_dataset alone tries six times, half a minute, before it reports that there is no network.
            huggingface_hub.HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
        cache = str(cache_dir) if cache_dir else None
        loaded = datasets.load_dataset(name, data_files=file, split=split, cache_dir=cache)
    except Exception as error:
        # The hub client and datasets raise many kinds (HTTP status, connection, split, format, not in the cache).
        of_file = f", file {file}" if file else ""
        raise UserError(
            f"{name!r} is no file or folder here, and could not be had from the hub as a data set (split {split!r}{of_file}): "
            f"{first_line(error)}. Check the name and the network; if it was downloaded before, HF_HUB_OFFLINE=1 takes the "
            f"copy in the cache; or give a local file or folder as --dataset_name{neighbour(Path(name))}."
        ) from error
    prefix = f"{name}[{split}]"

    def numbered_rows() -> Iterator[PlacedRow]:
        for number, row in enumerate(loaded, start=1):
            yield f"{prefix}:row {number}", row

    fingerprint = f"{prefix} {file} {loaded._fingerprint}"
    return DataSource(prefix, fingerprint, fingerprint, numbered_rows)


def _cache_folder(cache_dir: str | Path | None) -> Path:
    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / "triplets"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"prepared data cannot be kept in {folder}: {error.strerror or error}; give --cache_dir") from error
    return folder


def _prepare(source: DataSource, data_set: DataSet, on_invalid_rows: str, arrow: Path, report_file: Path) -> None:
    """Write the Arrow file and its report, whole or not at all.

    Several processes may do so at once; each writes its own, and the last rename wins with the same content.
    """
    handle, unfinished = tempfile.mkstemp(dir=arrow.parent, prefix=f"{arrow.stem}.", suffix=".unfinished")
    os.close(handle)
    try:
        report = ReadReport()
        _write(Path(unfinished), _checked(source, report, data_set))
        _check_report(source.name, report, on_invalid_rows)
        write_whole(report_file, json.dumps(asdict(report)))
        Path(unfinished).replace(arrow)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"prepared data cannot be written to {arrow.parent}: {reason}; give --cache_dir") from error
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _checked(source: DataSource, report: ReadReport, data_set: DataSet) -> Iterator[Triplet]:
    """Yield valid triplets, at most ``max_train_samples``, and count the others in ``report``."""
    for place, row in source.rows():
        report.rows += 1
        try:
            triplets = triplets_of(row, report, data_set.max_negatives, in_batch=data_set.in_batch_negatives, place=place)
        except InvalidRowError as error:
            report.invalid += 1
            if len(report.examples) < EXAMPLES:
                report.examples.append(f"{place}: {error}")
            continue
        for triplet in triplets:
            yield triplet
            report.count(triplet)
            if report.triplets == data_set.max_train_samples:
                return


def _write(path: Path, triplets: Iterator[Triplet]) -> None:
    """Write an Arrow stream in batches of `BATCH_ROWS`; memory holds one of them."""
    batch: list[dict[str, object]] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        for triplet in triplets:
            batch.append(asdict(triplet))
            if len(batch) == BATCH_ROWS:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
                batch.clear()
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))


def _check_report(name: str, report: ReadReport, on_invalid_rows: str) -> None:
    """Raise `UserError` for invalid rows, or when no triplet is left."""
    if report.rows == 0:
        raise UserError(f"{name}: there is no row in it")
    examples = "".join(f"\n  {example}" for example in report.examples)
    more = report.invalid - len(report.examples)
    if more > 0:
        examples += f"\n  ... and {more} more"
    if report.triplets == 0:
        raise UserError(f"{name}: none of the {report.rows} rows can be used:{examples}")
    if report.invalid and on_invalid_rows == "error":
        raise UserError(
            f"{name}: {report.invalid} of {report.rows} rows cannot be used:{examples}\n"
            "Correct them, or leave them out with --on_invalid_rows skip."
        )


def _log(name: str, report: ReadReport) -> None:
    logger.info("%s: %d triplets from %d rows", name, report.triplets, report.rows)
    if report.invalid:
        logger.warning("%s: %d of %d rows skipped, the first: %s", name, report.invalid, report.rows, report.examples[0])
    if report.misspelt:
        logger.warning("%s: the key 'postive' of %d rows was taken for 'positive'; rename it", name, report.misspelt)
    if report.several_positives:
        logger.warning("%s: %d rows have several positives; each became a triplet", name, report.several_positives)
    if report.ignored_keys:
        logger.info("%s: keys that are not read: %s", name, ", ".join(report.ignored_keys))
