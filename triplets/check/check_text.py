"""The data check's findings as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Of a histogram of how often rows were seen, the entries that are shown one by one.
MOST_TIMES = 6


def as_text(report: dict[str, Any]) -> str:
    """Return the whole report, section by section."""
    sections = [_data_sets(report), _lengths(report, "characters"), _repetitions(report), _seen(report)]
    if "longest" in report:
        sections.insert(2, _lengths(report, "tokens"))
    if report["overlap"]:
        sections.append(_overlap(report))
    return "\n\n".join(sections)


def _data_sets(report: dict[str, Any]) -> str:
    rows = [["data set", "rows", "queries", "positives", "rows with 0, 1, … negatives", "an epoch", "share", "declared"]]
    for one in report["data sets"]:
        how = f"weight {one['weight']:g}" if one["weight"] is not None else f"repeat {one['repeat']:g}"
        alone = "" if one["in_batch_negatives"] else " (no in-batch)"
        rows.append([one["label"], f"{one['rows']:,}", f"{one['distinct']['queries']:,}", f"{one['distinct']['positives']:,}",
                     ", ".join(f"{count:,}" for count in one["rows with so many negatives"]) + alone,
                     f"{one['rows an epoch']:,}", f"{one['share']:.2%}", f"{one['declared share']:.2%}, {how}"])  # fmt: skip
    return "\n".join(["Data sets (queries and positives: how many different ones)", *_table(rows)])


def _lengths(report: dict[str, Any], unit: str) -> str:
    limit = report.get("longest", {})
    title = "Characters of a text" if unit == "characters" else (
        f"Tokens of a text with its prompt and EOS; queries are cut at {limit['query']}, documents at {limit['document']}"
    )  # fmt: skip
    rows = [["data set", "role", "texts", "median", "90 %", "99 %", "longest", *(["cut"] if unit == "tokens" else [])]]
    for one in report["data sets"]:
        for role, found in one[unit].items():
            if found["texts"]:
                numbers = [f"{found[name]:,}" for name in ("texts", "median", "90%", "99%", "longest")]
                rows.append([one["label"], role, *numbers, *([f"{found['cut']:.2%}"] if unit == "tokens" else [])])
    return "\n".join([title, *_table(rows)])


def _repetitions(report: dict[str, Any]) -> str:
    lines = ["What stands there more than once (up to case and white space)"]
    for name, found in report["repetitions"].items():
        lines.append(f"  {found['count']:,} {name}")
        lines += [f"      {' and '.join(dict.fromkeys(places))}" for places in found["examples"]]
    return "\n".join(lines)


def _seen(report: dict[str, Any]) -> str:
    about = report["batches"]
    processes = "" if about["processes"] == 1 else f" on {about['processes']} processes"
    lines = [f"Batches: {about['batches an epoch']:,} an epoch of {about['queries a batch']} queries{processes}, "
             f"{about['of one data set']:,} of them of one data set"]  # fmt: skip
    for after in report["seen"]:
        moment = "" if after["moment"] == str(after["steps"]) else f" ({after['moment']})"
        lines.append(f"Seen after {after['steps']:,} steps{moment}")
        rows = [["data set", "queries", "share", "rows seen so often"]]
        for one in after["data sets"]:
            rows.append([one["label"], f"{one['queries']:,}", f"{one['share']:.2%}", _times(one["rows seen so often"])])
        lines += _table(rows)
    return "\n".join(lines)


def _times(histogram: dict[str, int]) -> str:
    entries = sorted((int(times), count) for times, count in histogram.items())
    shown = ", ".join(f"{times}x: {count:,}" for times, count in entries[:MOST_TIMES])
    return shown if len(entries) <= MOST_TIMES else f"{shown}, … up to {entries[-1][0]}x"


def _overlap(report: dict[str, Any]) -> str:
    lines = ["Evaluation texts that stand in the training data (up to case and white space)"]
    rows = [["evaluation file", "rows", "with a shared text", "two in one row", "by field", "training rows"]]
    untouched = 0
    for one in report["overlap"]:
        if not one["fields"]:
            untouched += 1
            continue
        rows.append([one["file"], f"{one['rows']:,}", f"{one['shared_rows']:,}", f"{one['together']:,}",
                     _named(one["fields"]), _named(one["training_rows"])])  # fmt: skip
    lines += _table(rows) if len(rows) > 1 else []
    for one in report["overlap"]:
        for example in one["examples"]:
            lines.append(f"    {example['evaluation']} ({example['field']}) = {example['training']} ({example['role']}): "
                         f"{example['text']!r}")  # fmt: skip
    lines.append(f"  {untouched} of {len(report['overlap'])} files share nothing")
    return "\n".join(lines)


def _named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if _is_number(cell) else cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").removesuffix("%").isdigit()
