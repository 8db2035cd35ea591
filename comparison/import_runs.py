"""``python -m comparison.import_runs NAME=FILE … --task TASK --qrels QRELS --output_dir DIR``: score files of other tools.

The files are TREC runs, or mteb's ``<Task>_predictions.json``. Written are results in mteb's layout with scores item by item,
so that ``python -m comparison DIR`` can say what holds on these tasks, too. A task a call; several calls fill one directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import exit_status
from common.files import is_below
from comparison.__main__ import ComparisonParser
from comparison.errors import ComparisonError
from comparison.importing.measures import check_measure
from comparison.importing.trec import Judgements, Predictions, read_gold, read_judgements, read_predictions, without_own_ids
from comparison.importing.write import Imported, score_pairs, score_run, write_result

REVISION = "imported"


def parser() -> ComparisonParser:
    """Return the command line."""
    command = ComparisonParser(prog="python -m comparison.import_runs", description=__doc__, allow_abbrev=False)
    flag = command.add_argument
    flag("files", nargs="+", metavar="NAME=FILE", help="a system and its TREC run, or mteb's <Task>_predictions.json")
    flag("--task", required=True, help="mteb's name of the task, so that its kind and family are known")
    flag("--output_dir", type=Path, required=True, help="gets <NAME>/imported/<Task>.json, and items/ beside it")
    truth = command.add_mutually_exclusive_group(required=True)
    truth.add_argument("--qrels", type=Path, metavar="FILE", help="judgements: query, 0, document, grade; or as BEIR has them")
    truth.add_argument("--gold", type=Path, metavar="FILE", help="of pairs of texts: a gold score a line, in their order")
    flag(
        "--metric", default="ndcg_at_10", help="main score of queries: ndcg, map, recall, precision, mrr (default: %(default)s)"
    )
    flag("--split", default="test", help="default: %(default)s")
    flag("--subset", default="default", help="default: %(default)s")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Score the files; returns the exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: print("\n".join(import_files(args))))


def import_files(args: argparse.Namespace) -> list[str]:
    """Score each system's file, then write all results; returns a line for each.

    Raises:
        ComparisonError: a file cannot be read, scored or written, or a name is none.
    """
    check_measure(args.metric)
    if not args.task or not is_below(args.task) or "/" in args.task:
        raise ComparisonError(f"--task {args.task!r} is no name of a task")
    judgements, gold = {}, []
    truth = args.qrels or args.gold
    if not truth.exists() or truth.is_dir():
        raise ComparisonError(f"there is no file {truth}")
    if args.qrels is not None:
        judgements = read_judgements(args.qrels)
    else:
        gold = read_gold(args.gold)
    scored: dict[str, Imported] = {}
    own_ids: dict[str, int] = {}
    for words in args.files:
        name, path = _named_file(words)
        if name in scored:
            raise ComparisonError(f"{name!r} is given twice; name systems apart, NAME=FILE")
        predictions = read_predictions(path, args.subset, args.split)
        run, own_ids[name] = without_own_ids(predictions.run, args.task)
        predictions = replace(predictions, run=run)
        try:
            scored[name] = _scored(predictions, judgements, gold, args.metric)
        except ComparisonError as error:
            raise ComparisonError(f"{path}: {error}") from error
    lines = []
    for name, imported in scored.items():
        folder = args.output_dir / name.replace("/", "__") / REVISION
        try:
            path = write_result(folder, args.task, imported, (args.split, args.subset))
        except OSError as error:
            raise ComparisonError(f"--output_dir {args.output_dir} cannot be written: {error.strerror}") from error
        line = f"{name}: {imported.main} {imported.scores[imported.main]:.4f} over {len(imported.rows)} items, {path}"
        if imported.lacking:
            line += f"; {imported.lacking} queries that the run lacks count as 0"
        if own_ids[name]:
            line += f"; left out, as mteb does for this task: {own_ids[name]} hits with their query's own id"
        lines.append(line)
    return lines


def _named_file(words: str) -> tuple[str, Path]:
    """Return the name and the file of ``NAME=FILE``; a file alone is named by its stem."""
    name, sign, file = words.partition("=")
    if not sign:
        name, file = Path(words).name.split(".")[0], words
    if not name or not is_below(name.replace("/", "__")):
        raise ComparisonError(f"{words!r}: {name!r} is no name of a system")
    path = Path(file)
    if not path.is_file():
        raise ComparisonError(f"there is no file {path}")
    return name, path


def _scored(predictions: Predictions, judgements: Judgements, gold: Sequence[float], metric: str) -> Imported:
    if predictions.pairs:
        if not gold:
            raise ComparisonError("it has a score for each pair of texts, so it needs --gold, not --qrels")
        return score_pairs(predictions.pairs, gold)
    if not judgements:
        raise ComparisonError("it has the hits of queries, so it needs --qrels, not --gold")
    return score_run(predictions.run, judgements, metric)


if __name__ == "__main__":
    sys.exit(main())
