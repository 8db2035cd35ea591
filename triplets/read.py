"""Training data as checked triplets on disk, in Arrow files.

Rows are streamed through the checks into one Arrow file, which is then mapped into memory: data larger than memory works.
The file is named after a hash of the data's content and of the options, so that a changed file is never read from an old
copy. Nothing is drawn at random: rows keep the order of the files (by name) and of the lines in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from triplets.arguments import DataArguments, data_sets, evaluation_set
from triplets.batch_plan import apportion, repeated
from triplets.data_sets import DataSet
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.prepare import PreparedData, prepared_data, problem_of


@dataclass(frozen=True)
class CheckedData:
    """What can be read of the data of a run, and what cannot.

    Attributes:
        data_sets: those of which rows can be used.
        rows: their rows.
        evaluation: rows of ``eval_dataset``; None if there are none.
        problems: what training would stop at, one entry a data set.
    """

    data_sets: list[DataSet]
    rows: TripletRows
    evaluation: TripletRows | None
    problems: list[str]


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
    ['document_prompt', 'in_batch', 'negatives', 'place', 'positive', 'query', 'query_prompt', 'scores']
    """
    described = data_sets(data)
    return _put_together(described, [prepared_data(data_set, data.on_invalid_rows, cache_dir) for data_set in described])


def read_eval_triplets(data: DataArguments, *, cache_dir: str | Path | None = None) -> TripletRows | None:
    """Read the triplets of ``eval_dataset``, as `read_triplets` does; None if there is none."""
    data_set = evaluation_set(data)
    if data_set is None:
        return None
    prepared = prepared_data(data_set, data.on_invalid_rows, cache_dir)
    return TripletRows([_loaded(data_set, prepared, len(prepared.rows))])


def read_for_check(data: DataArguments, *, cache_dir: str | Path | None = None) -> CheckedData:
    """Read the triplets as `read_triplets` does, but report invalid rows and damaged files, and go on behind them.

    Raises:
        UserError: nothing can be read.
    """
    usable, prepared = [], []
    problems: list[str] = []
    for data_set in data_sets(data):
        loaded = _readable(data_set, data.on_invalid_rows, cache_dir, problems)
        if loaded is not None:
            usable.append(data_set)
            prepared.append(loaded)
    evaluation = None
    eval_set = evaluation_set(data)
    if eval_set is not None:
        loaded = _readable(eval_set, data.on_invalid_rows, cache_dir, problems)
        if loaded is not None:
            evaluation = TripletRows([_loaded(eval_set, loaded, len(loaded.rows))])
    if not usable:
        raise UserError("\n".join(problems))
    return CheckedData(usable, _put_together(usable, prepared), evaluation, problems)


def _readable(
    data_set: DataSet, on_invalid_rows: str, cache_dir: str | Path | None, problems: list[str]
) -> PreparedData | None:
    """Return what can be read of a data set, None for nothing; add what cannot to ``problems``."""
    try:
        return prepared_data(data_set, on_invalid_rows, cache_dir)
    except UserError as error:
        problem = str(error)
    loaded = None
    try:
        loaded = prepared_data(data_set, "report", cache_dir)
        problem = problem_of(data_set.label, loaded.report)
    except UserError as error:
        problem = str(error)
    problems.append(problem)
    return loaded


def _put_together(described: Sequence[DataSet], prepared: Sequence[PreparedData]) -> TripletRows:
    """Return the data sets behind each other, each with the rows that an epoch takes of it."""
    sizes = [len(loaded.rows) for loaded in prepared]
    parts = []
    for data_set, loaded, taken in zip(described, prepared, _rows_an_epoch(described, sizes), strict=True):
        parts.append(_loaded(data_set, loaded, taken))
    return TripletRows(parts)


def _rows_an_epoch(described: Sequence[DataSet], sizes: Sequence[int]) -> list[int]:
    """Return the number of rows that an epoch takes of each data set, by weights or repeats."""
    if any(data_set.weight is not None for data_set in described):
        return rows_by_weight(sizes, [(data_set.label, data_set.weight or 0.0) for data_set in described])
    return [repeated(size, data_set.repeat or 1.0) for data_set, size in zip(described, sizes, strict=True)]


def rows_by_weight(sizes: Sequence[int], weights: Sequence[tuple[str, float]]) -> list[int]:
    """Return the rows that an epoch takes of each data set: it is as long as all of them together.

    Args:
        sizes: rows of each data set.
        weights: label and weight of each.

    Raises:
        UserError: a data set would have no row.
    """
    rows = apportion(sum(sizes), [weight for _, weight in weights])
    for (label, weight), taken in zip(weights, rows, strict=True):
        if taken == 0:
            raise UserError(f"{label}: its weight of {weight} is less than one of an epoch's {sum(sizes)} rows; raise it")
    return rows


def _loaded(data_set: DataSet, prepared: PreparedData, taken: int) -> LoadedDataSet:
    return LoadedDataSet(
        rows=prepared.rows,
        label=data_set.label,
        taken=taken,
        query_prompt=data_set.query_prompt,
        document_prompt=data_set.document_prompt,
        in_batch=data_set.in_batch_negatives,
        negatives=tuple(prepared.report.negatives),
        report=prepared.report,
        content=prepared.content,
        weight=data_set.weight,
    )
