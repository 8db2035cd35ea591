"""Checked triplets on disk: rows are streamed through the checks into one Arrow file, with a report of what was read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import pyarrow as pa  # type: ignore[import-untyped]

from common.errors import UserError
from common.files import write_whole
from triplets.data_sets import DataSet
from triplets.formats import PlacedRow
from triplets.keys import names
from triplets.sources import DataSource, locate
from triplets.triplet import InvalidRowError, ReadReport, Triplet, triplets_of

logger = logging.getLogger(__name__)

FORMAT = 2  # of the content; runs that go on compare it
PREPARED = 5  # of the prepared file and its report; part of their names
EXAMPLES = 5  # invalid rows that an error shows
BATCH_ROWS = 1000  # rows of one Arrow record batch
BATCH_CHARACTERS = 2**24  # of its texts, of which one row may have more
SCHEMA = pa.schema(
    {
        "query": pa.string(),
        "positive": pa.string(),
        "negatives": pa.list_(pa.string()),
        "place": pa.string(),
        "scores": pa.list_(pa.float64()),
    }
)


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


def prepared_data(data_set: DataSet, on_invalid_rows: str, cache_dir: str | Path | None) -> PreparedData:
    """Open the prepared files of a data set; make them first if they do not exist."""
    source = locate(data_set, cache_dir)
    # in_batch_negatives belongs here: without them a row needs negatives of its own to be valid.
    options = [on_invalid_rows, data_set.max_negatives, data_set.max_train_samples, data_set.in_batch_negatives]
    key = _hash_of([PREPARED, source.fingerprint, *options])
    folder = _cache_folder(cache_dir)
    arrow, report_file = folder / f"{key}.arrow", folder / f"{key}.json"
    if not (arrow.exists() and report_file.exists()):
        _prepare(source, data_set, on_invalid_rows, arrow, report_file)
    report = ReadReport(**json.loads(report_file.read_text(encoding="utf-8")))
    _log(source.name, report)
    facts = [FORMAT, source.content, *options]
    if report.numbered:  # earlier versions did not read these negatives, so such a run does not go on
        facts.append("numbered negatives")
    if report.texts:  # these were invalid
        facts.append("rows of one text")
    content = _hash_of(facts)
    return PreparedData(datasets.Dataset.from_file(str(arrow)), report, content)


def prepared_triplets(rows: datasets.Dataset, done: int = 0) -> Iterator[Triplet]:
    """Yield the triplets of prepared rows in their order, after the first ``done``."""
    for row in rows.select(range(min(done, len(rows)), len(rows))):
        yield Triplet(row["query"], row["positive"], row["negatives"], row["place"], row["scores"])


def _hash_of(facts: Sequence[object]) -> str:
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


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
        _write(Path(unfinished), _checked(source, report, data_set, on_invalid_rows))
        _check_report(source.name, report, on_invalid_rows)
        write_whole(report_file, json.dumps(asdict(report)))
        Path(unfinished).replace(arrow)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"prepared data cannot be written to {arrow.parent}: {reason}; give --cache_dir") from error
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _checked(source: DataSource, report: ReadReport, data_set: DataSet, on_invalid_rows: str) -> Iterator[Triplet]:
    """Yield valid triplets, at most ``max_train_samples``, and count the others in ``report``."""
    for place, row in _rows_of(source, report, on_invalid_rows):
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


def _rows_of(source: DataSource, report: ReadReport, on_invalid_rows: str) -> Iterator[PlacedRow]:
    """Yield the rows of all parts; where damage is only reported, reading goes on with the next file."""
    for part in source.parts:
        try:
            yield from part()
        except UserError as error:
            if on_invalid_rows != "report":
                raise
            report.damaged.append(str(error))


def _write(path: Path, triplets: Iterator[Triplet]) -> None:
    """Write an Arrow stream in batches of `BATCH_ROWS` or `BATCH_CHARACTERS`; memory holds one of them."""
    batch: list[dict[str, object]] = []
    characters = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        for triplet in triplets:
            batch.append(asdict(triplet))
            characters += len(triplet.query) + len(triplet.positive) + sum(map(len, triplet.negatives))
            if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
                batch.clear()
                characters = 0
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))


def _check_report(name: str, report: ReadReport, on_invalid_rows: str) -> None:
    """Raise `UserError` for invalid rows, or when no triplet is left."""
    if report.rows == 0 and not report.damaged:
        raise UserError(f"{name}: there is no row in it")
    if report.triplets == 0 or (report.invalid and on_invalid_rows == "error"):
        raise UserError(problem_of(name, report))


def problem_of(name: str, report: ReadReport) -> str:
    """Return what cannot be used of a data set: rows, with the first places, and damaged files; empty if all can."""
    lines = list(report.damaged)
    if report.invalid:
        number = f"{report.invalid} of {report.rows} rows"
        if report.triplets == 0:
            number = f"none of the {report.rows} rows"
        verb = "can" if report.triplets == 0 else "cannot"
        lines.append(f"{name}: {number} {verb} be used:")
        lines += [f"  {example}" for example in report.examples]
        more = report.invalid - len(report.examples)
        if more > 0:
            lines.append(f"  ... and {more} more")
        if report.triplets:
            lines.append("Correct them, or leave them out with --on_invalid_rows skip.")
    return "\n".join(lines)


def _log(name: str, report: ReadReport) -> None:
    logger.info("%s: %d triplets from %d rows", name, report.triplets, report.rows)
    if report.invalid:
        logger.warning("%s: %d of %d rows skipped, the first: %s", name, report.invalid, report.rows, report.examples[0])
    if report.misspelt:
        logger.warning("%s: the key 'postive' of %d rows was taken for 'positive'; rename it", name, report.misspelt)
    if report.several_positives:
        logger.warning("%s: %d rows have several positives; each became a triplet", name, report.several_positives)
    if report.ignored_keys:
        logger.warning("%s: keys that are not read: %s", name, names(report.ignored_keys))
