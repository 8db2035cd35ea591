"""The data check's report as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from common.printable import escaped
from triplets.keys import in_words

MOST_TIMES = 6  # entries of a histogram that are shown one by one
DATA_SET_COLUMNS = ["data set", "rows", "queries", "positives", "rows with 0, 1, … negatives", "an epoch", "share", "declared"]
LENGTH_COLUMNS = ["data set", "role", "texts", "median", "90 %", "99 %", "longest"]
SEEN_COLUMNS = ["data set", "queries", "share", "rows seen so often"]
OVERLAP_COLUMNS = ["evaluation file", "rows", "with a shared text", "two in one row", "by field", "training rows"]


def as_text(report: dict[str, Any]) -> str:
    """Return the whole report, section by section."""
    sections = [_data_sets(report), *_not_read(report), _characters(report)]
    if "longest" in report:
        sections.append(_tokens(report))
    sections += [_repetitions(report), _seen(report)]
    if report["overlap"]:
        sections.append(_overlap(report))
    return "\n\n".join(sections)


def _data_sets(report: dict[str, Any]) -> str:
    rows = [DATA_SET_COLUMNS]
    for data_set in report["data sets"]:
        kind = "repeat" if data_set["weight"] is None else "weight"
        negatives = ", ".join(f"{count:,}" for count in data_set["rows with so many negatives"])
        if not data_set["in_batch_negatives"]:
            negatives += " (no in-batch)"
        row = [
            data_set["label"],
            f"{data_set['rows']:,}",
            f"{data_set['distinct']['queries']:,}",
            f"{data_set['distinct']['positives']:,}",
            negatives,
            f"{data_set['rows an epoch']:,}",
            f"{data_set['share']:.2%}",
            f"{data_set['declared share']:.2%}, {kind} {data_set[kind]:g}",
        ]
        rows.append(row)
    return "\n".join(["Data sets (queries and positives: how many different ones)", *_table(rows)])


def _not_read(report: dict[str, Any]) -> list[str]:
    """Return a section of keys, rows and files that are not read; none where everything is."""
    lines = []
    for data_set in [*report["data sets"], *report["evaluation"]]:
        label = data_set["label"]
        counts = data_set.get("keys not read")
        if counts:
            keys = ", ".join(f"{in_words(key)} ({count:,} rows)" for key, count in counts.items())
            lines.append(f"  {label}: the keys {keys}")
        invalid = data_set.get("rows not read")
        if invalid and invalid["count"]:
            lines.append(f"  {label}: {invalid['count']:,} invalid rows, the first: {escaped(invalid['examples'][0])}")
        for problem in data_set.get("damaged files", []):
            lines.append(f"  {label}: from here on {escaped(problem)}")
    if not lines:
        return []
    return ["\n".join(["Not read", *lines])]


def _characters(report: dict[str, Any]) -> str:
    rows = [LENGTH_COLUMNS]
    for data_set in report["data sets"]:
        for role, lengths in data_set["characters"].items():
            if lengths["texts"]:
                rows.append([data_set["label"], role, *_numbers(lengths)])
    return "\n".join(["Characters of a text", *_table(rows)])


def _tokens(report: dict[str, Any]) -> str:
    query, document = report["longest"]["query"], report["longest"]["document"]
    title = f"Tokens of a text with its prompt and EOS; queries are cut at {query}, documents at {document}"
    rows = [[*LENGTH_COLUMNS, "cut"]]
    for data_set in report["data sets"]:
        for role, lengths in data_set["tokens"].items():
            if lengths["texts"]:
                rows.append([data_set["label"], role, *_numbers(lengths), f"{lengths['cut']:.2%}"])
    return "\n".join([title, *_table(rows)])


def _numbers(lengths: dict[str, int]) -> list[str]:
    return [f"{lengths[name]:,}" for name in ("texts", "median", "90%", "99%", "longest")]


def _repetitions(report: dict[str, Any]) -> str:
    lines = ["What stands there more than once (up to case and white space)"]
    for name, repetition in report["repetitions"].items():
        lines.append(f"  {repetition['count']:,} {name}")
        for places in repetition["examples"]:
            lines.append(f"      {' and '.join(dict.fromkeys(places))}")
    return "\n".join(lines)


def _seen(report: dict[str, Any]) -> str:
    batches = report["batches"]
    if batches is None:
        return "Batches: of packed rows (--objective mntp), counted with --model_name_or_path, where texts fill a row"
    processes = "" if batches["processes"] == 1 else f" on {batches['processes']} processes"
    lines = [
        f"Batches: {batches['batches an epoch']:,} an epoch of {batches['queries a batch']} queries{processes}, "
        f"{batches['of one data set']:,} of them of one data set"
    ]
    for after in report["seen"]:
        lines.append(f"Seen after {after['steps']:,} steps{_moment(after)}")
        rows = [SEEN_COLUMNS]
        for data_set in after["data sets"]:
            times = _times(data_set["rows seen so often"])
            rows.append([data_set["label"], f"{data_set['queries']:,}", f"{data_set['share']:.2%}", times])
        lines += _table(rows)
    return "\n".join(lines)


def _moment(after: dict[str, Any]) -> str:
    """Return a moment in words where it was not given in steps: `` (3 epochs)``."""
    match = re.fullmatch(r"([\d.]+)\s*e.*", after["moment"].strip().lower())
    if match is None:
        return ""
    number = match[1]
    return f" ({number} epoch)" if number == "1" else f" ({number} epochs)"


def _times(histogram: dict[str, int]) -> str:
    entries = sorted((int(times), count) for times, count in histogram.items())
    shown = ", ".join(f"{times}x: {count:,}" for times, count in entries[:MOST_TIMES])
    if len(entries) > MOST_TIMES:
        shown += f", … up to {entries[-1][0]}x"
    return shown


def _overlap(report: dict[str, Any]) -> str:
    rows, examples, untouched = [OVERLAP_COLUMNS], [], 0
    for file in report["overlap"]:
        if not file["fields"]:
            untouched += 1
            continue
        row = [
            file["file"],
            f"{file['rows']:,}",
            f"{file['shared_rows']:,}",
            f"{file['together']:,}",
            _counts(file["fields"]),
            _counts(file["training_rows"]),
        ]
        rows.append(row)
        for example in file["examples"]:
            examples.append(
                f"    {example['evaluation']} ({example['field']}) = {example['training']} ({example['role']}): "
                f"{example['text']!r}"
            )
    lines = ["Evaluation texts that stand in the training data (up to case and white space)"]
    if len(rows) > 1:
        lines += _table(rows)
    return "\n".join([*lines, *examples, f"  {untouched} of {len(report['overlap'])} files share nothing"])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for cell, width in zip(row, widths, strict=True):
            cells.append(cell.rjust(width) if _is_number(cell) else cell.ljust(width))
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").removesuffix("%").isdigit()
