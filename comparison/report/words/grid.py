"""The grid in words: what attention and pooling do each, and whether the one depends on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comparison.claims.grid import ATTENTION, INTERACTION, POOLING
from comparison.claims.outcome import FEWEST_FAMILIES, Category, Contrast, Grid
from comparison.claims.overall import Overall
from comparison.report.words.cells import other_p
from comparison.report.words.headlines import few
from comparison.report.words.marks import any_decidable
from comparison.report.words.names import called, listed
from comparison.report.words.wording import another_run_interval, chance, families, other_tasks_interval, points, span, when
from comparison.stats.effects import ALPHA, Interval

ALL = "all kinds together"
EFFECTS = {ATTENTION: "attention", POOLING: "pooling", INTERACTION: "interaction"}


@dataclass(frozen=True)
class GridRow:
    """One contrast of one kind of tasks, or of all kinds together.

    Attributes:
        kind: of tasks.
        effect: ``attention``, ``pooling`` or ``interaction``.
        a: a level.
        b: the reference.
        mean: a - b, over families.
        interval: for all contrasts together; None where it cannot be decided.
        p: for other tasks, in words.
        p_run: for another run, in words.
        mark: star and of what it speaks; empty without one.
        sentence: the same in words.
        scored_only: whether it would have a star, and has none because runs failed or tasks are missing.
    """

    kind: str
    effect: str
    a: str
    b: str
    mean: float
    interval: Interval | None
    p: str
    p_run: str
    mark: str
    sentence: str
    scored_only: bool = False


def grid_rows(grid: Grid) -> list[GridRow]:
    """Return all contrasts, kind by kind, then over all kinds."""
    rows: list[GridRow] = []
    for category in grid.categories:
        for number, (effect, contrast) in enumerate(zip(grid.effects, category.contrasts, strict=True)):
            rows.append(_row(category, effect, contrast, _lost(grid, number, [category.name])))
    names = [(contrast.a, contrast.b) for contrast in grid.categories[0].contrasts]
    for entry in grid.overall:
        number = names.index((entry.a, entry.b))
        rows.append(_overall_row(grid, grid.effects[number], entry, _lost(grid, number, grid.lost)))
    return rows


def _lost(grid: Grid, number: int, kinds: Iterable[str]) -> list[str]:
    """Return the systems of a contrast with failed runs or missing tasks in some kinds of tasks."""
    systems: dict[str, None] = {}
    for kind in kinds:
        if kind in grid.lost:
            systems |= dict.fromkeys(grid.lost[kind][number])
    return list(systems)


def _in_what_was_scored(claim: str, ends: str, p: str, lost: Sequence[str]) -> str:
    """Say what is seen beside failures, and that nothing is claimed of designs."""
    return (
        f"{claim} {ends} in what was scored (p {p}); runs or tasks of {few(lost)} failed or are missing, so nothing is claimed "
        "of designs."
    )


def _row(category: Category, effect: str, contrast: Contrast, lost: Sequence[str]) -> GridRow:
    interval: Interval | None = None
    if contrast.other_tasks.decidable:
        interval = other_tasks_interval(contrast)
        if contrast.another_run.p is not None:
            interval = another_run_interval(contrast)
    subject = "designs"
    if contrast.checkpoint:
        subject = "checkpoints"
    mean = contrast.by_family.mean
    claim = claim_in_words(effect, contrast.a, contrast.b, mean)
    mark, p_run = "", chance(contrast.another_run.p)
    p = p_run if contrast.another_run.p is not None else other_p(contrast)
    scored_only = contrast.starred and bool(lost)
    if scored_only:
        sentence = _in_what_was_scored(claim, span(_seen(mean, interval)), p, lost)
    elif contrast.starred:
        mark = contrast.mark + when(contrast.checkpoint, " checkpoint")
        sentence = f"{claim} {span(_seen(mean, interval))} on other tasks of this kind ({subject}, p {p})."
    elif not contrast.other_tasks.decidable:
        sentence = f"{claim}, seen on these tasks; it cannot be decided with {families(contrast.other_tasks.families)}."
    else:
        sentence = f"{_question(effect, contrast.a, contrast.b)}: not shown, {points(mean)} {span(interval)}."
    return GridRow(
        kind=category.name,
        effect=effect,
        a=contrast.a,
        b=contrast.b,
        mean=mean,
        interval=interval,
        p=other_p(contrast),
        p_run=p_run,
        mark=mark,
        sentence=sentence,
        scored_only=scored_only,
    )


def _overall_row(grid: Grid, effect: str, entry: Overall, lost: Sequence[str]) -> GridRow:
    p = entry.p if entry.p_run is None else entry.p_run
    interval = entry.simultaneous or entry.interval
    claim = claim_in_words(effect, entry.a, entry.b, entry.mean)
    subject = "designs"
    if entry.p_run is None:
        subject = "checkpoints"
    mark, ends = "", span(_seen(entry.mean, interval))
    scored_only = p <= ALPHA and not entry.opposed and bool(lost)
    question = _question(effect, entry.a, entry.b)
    if entry.opposed:
        sentence = f"{question}: kinds of task contradict each other, so nothing is shown over kinds."
    elif p > ALPHA:
        sentence = f"{question}: not shown, {points(entry.mean)} {span(interval)}."
    elif scored_only:
        sentence = _in_what_was_scored(claim, f"{ends} over {_kinds(grid, entry)}", chance(p), lost)
    else:
        mark = "*" + when(entry.p_run is None, " checkpoint")
        sentence = f"{claim} {ends} over {_kinds(grid, entry)} ({subject}, p {chance(p)})."
    return GridRow(
        kind=ALL,
        effect=effect,
        a=entry.a,
        b=entry.b,
        mean=entry.mean,
        interval=interval,
        p=chance(entry.p),
        p_run=chance(entry.p_run),
        mark=mark,
        sentence=sentence,
        scored_only=scored_only,
    )


def _kinds(grid: Grid, entry: Overall) -> str:
    """Return over which kinds a contrast is: all of them, or how many."""
    every = len(grid.categories) + len(grid.left_out)
    if len(entry.categories) < every:
        return f"{len(entry.categories)} of {every} kinds"
    return "all kinds"


def _seen(mean: float, interval: Interval | None) -> Interval | None:
    """Return the interval as seen by the better of two."""
    if interval is None or mean >= 0:
        return interval
    return Interval(-interval.high, -interval.low, interval.confidence)


def claim_in_words(effect: str, a: str, b: str, mean: float) -> str:
    """Return what a contrast says: ``bidirectional attention is better than causal attention by 1.20 points``."""
    size = f"{abs(100 * mean):.2f} points"
    if effect == INTERACTION:
        gain, with_a, with_b = _interaction(a, b)
        change = "larger"
        if mean < 0:
            change = "smaller"
        return f"The gain of {gain} is {change} by {size} with {with_a} than with {with_b}"
    better, worse = a, b
    if mean < 0:
        better, worse = b, a
    return f"{called(better)} {effect} is better than {called(worse)} by {size}"


def _interaction(a: str, b: str) -> tuple[str, str, str]:
    gain, _, with_a = a.partition(" with ")
    _, _, with_b = b.partition(" with ")
    first, _, second = gain.partition(" − ")
    return f"{first} over {second} attention", f"{called(with_a)} pooling", f"{called(with_b)} pooling"


def _question(effect: str, a: str, b: str) -> str:
    if effect == INTERACTION:
        gain, with_a, with_b = _interaction(a, b)
        return f"The gain of {gain} with {with_a} against {with_b}"
    return f"{called(a)} against {called(b)} {effect}"


def grid_answer(grid: Grid) -> list[str]:
    """Return the answer in a few sentences: what is shown over all kinds, else by kind; then what is described."""
    rows = grid_rows(grid)
    shown = [row for row in rows if row.mark or row.scored_only]
    sentences = []
    for row in shown:
        where = when(row.kind != ALL, f"{called(row.kind)}: ")
        sentences.append(f"{where}{row.sentence}")
    if not shown and not _any_decidable(grid):
        sentences.append(
            "Effects of attention and of pooling, and whether one depends on the other, cannot be decided on other tasks: too "
            "few unrelated tasks, or their relations are unknown."
        )
    elif not shown:
        sentences.append("Neither an effect of attention, nor one of pooling, nor an interaction is shown on other tasks.")
    elif not any(row.effect == INTERACTION for row in shown):
        sentences.append("That the effect of attention depends on the pooling is not shown.")
    return sentences


def _any_decidable(grid: Grid) -> bool:
    """Return whether a claim on other tasks could be made of any contrast, of a kind or over all kinds."""
    if any(entry.families >= FEWEST_FAMILIES for entry in grid.overall):
        return True
    return any(any_decidable(category.contrasts) for category in grid.categories)


def gains_text(grid: Grid) -> list[str]:
    """Return the gain of one attention over the other with each pooling, by kind: described, not tested."""
    first, second = grid.attentions
    lines = []
    for kind, gains in grid.simple.items():
        parts = [f"{points(gain)} with {called(pooling)}" for pooling, gain in gains.items()]
        lines.append(
            f"{called(kind)}: {called(first)} − {called(second)} attention is {', '.join(parts)} (points, not tested)."
        )
    return lines


def about_grid(grid: Grid) -> str:
    """Say what the contrasts are."""
    first, second = map(called, grid.attentions)
    reference = called(grid.poolings[-1])
    left_out = when(grid.left_out, f" Left out, without a task that all have: {listed(grid.left_out)}.")
    without = when(grid.without, f" Not in the grid, without scores or without the other attention: {few(grid.without)}.")
    return (
        f"{len(grid.poolings)} poolings ({listed(grid.poolings)}) with {first} and {second} attention, taken as a grid: the "
        f"effect of attention is a mean over poolings, that of a pooling (against {reference}) a mean over attentions, and an "
        f"interaction is how much more one attention gains with one pooling than with {reference}. These {len(grid.effects)} "
        f"contrasts of a kind of tasks are corrected together, and {_runs(grid)}.{_failures(grid)}{left_out}{without}"
    )


def _failures(grid: Grid) -> str:
    """Say of which designs runs failed or tasks are missing; empty where of none."""
    lost: dict[str, None] = {}
    for of_kind in grid.lost.values():
        for systems in of_kind:
            lost |= dict.fromkeys(systems)
    if not lost:
        return ""
    return (
        f" Runs or tasks of {few(list(lost))} failed or are missing: contrasts with these speak of what was scored, and "
        "nothing is claimed of designs there."
    )


def _runs(grid: Grid) -> str:
    """Say whether the noise between training runs is in the errors."""
    scored = when(any(map(any, grid.lost.values())), " that were scored")
    repeated = []
    for category in grid.categories:
        repeated += [not contrast.checkpoint for contrast in category.contrasts]
    if all(repeated):
        return f"all runs{scored} of all designs are in their errors"
    if not any(repeated):
        return "not every design was trained several times, so the noise between runs is not in their errors"
    return "the noise between runs is in the errors of those whose designs were all trained several times"
