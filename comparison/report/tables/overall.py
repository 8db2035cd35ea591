"""The table over all categories as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comparison.claims.outcome import ALPHA, FEWEST_FAMILIES, Comparison
from comparison.claims.overall import Overall
from comparison.report.tables.columns import Column, heads, texts
from comparison.report.tables.lines import MOST_LISTED, not_listed, table
from comparison.report.words import answer
from comparison.report.words.wording import DASH, chance, escape, points, span


def _overall_verdict(entry: Overall) -> str:
    """Return who is better over all categories, or why nobody is."""
    better = escape(answer.better_overall(entry)[0])
    if entry.opposed:
        return "categories contradict each other: no overall winner"
    if entry.families < FEWEST_FAMILIES:
        return f"cannot be decided with {entry.families} families"
    if entry.p > ALPHA:
        return "not separated"
    if not entry.carried:
        return f"{better} better in what was scored only, not with losses for the rest"
    if entry.p_run is None:
        return f"{better} better, checkpoints"
    if entry.p_run > ALPHA:
        return f"{better} better in these runs, but another run may say otherwise"
    return f"{better} better"


def _overall_failures(entry: Overall) -> str:
    if entry.p_failures is None:
        return DASH
    return f"{points(entry.mean_failures)}, p {chance(entry.p_failures)}"


OVERALL_COLUMNS: Sequence[Column[Overall]] = [
    Column("a - b", lambda entry: f"{escape(entry.a)} - {escape(entry.b)}"),
    Column("categories", lambda entry: len(entry.categories)),
    Column("families", lambda entry: entry.families),
    Column("mean", lambda entry: f"{points(entry.mean)} {span(entry.simultaneous or entry.interval)}"),
    Column("p, other tasks", lambda entry: entry.p, text=chance),
    Column("p, another run", lambda entry: entry.p_run, text=chance),
    Column("failures as losses", _overall_failures),
    Column("verdict", _overall_verdict),
]


def overall(comparison: Comparison) -> list[str]:
    """Return the table over all categories."""
    if not comparison.overall:
        return []
    about = (
        "The claim is on other tasks of these kinds. The mean of the categories' means over families, so categories weigh the "
        "same, with an interval for all comparisons together (95 %); sign flips by family within categories; for another run "
        f"the crossed test, too.{left_out(comparison)}"
    )
    if len(comparison.overall) > MOST_LISTED:
        return ["## All categories", "", about, "", not_listed(len(comparison.overall)).replace(".csv", ".json"), ""]
    rows = texts(OVERALL_COLUMNS, comparison.overall)
    return ["## All categories", "", about, "", *table(heads(OVERALL_COLUMNS), rows), ""]


def left_out(comparison: Comparison, shown: Callable[[str], str] = escape) -> str:
    """Say which categories cannot carry a claim on other tasks; their names as `shown` makes them."""
    single: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for entry in comparison.overall:
        single |= dict.fromkeys(map(shown, entry.left_out))
        unknown |= dict.fromkeys(map(shown, entry.unknown))
    text = ""
    if single:
        text += f" Left out, since one family says nothing of how much other tasks would differ: {', '.join(single)}."
    if unknown:
        text += f" Left out, since the relations of some of its tasks to others are unknown: {', '.join(unknown)}."
    return text
