"""The grid as a grid: contrasts by hand, interactions that are there and that are not, and the words for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.claims.grid import ATTENTION, INTERACTION, POOLING, cross, make_grid
from comparison.claims.outcome import Contrast, Grid
from comparison.compare import Options, compare
from comparison.reading.families import parse_families
from comparison.reading.systems import Score
from comparison.reading.table import Table
from comparison.report.plots.drawing import style
from comparison.report.plots.grid import draw_grid
from comparison.report.tables.markdown import as_markdown
from comparison.report.words.grid import ALL, about_grid, gains_text, grid_answer, grid_rows
from comparison.stats.crossed import JointError
from comparison.stats.effects import combine

ATTENTIONS, POOLINGS = ("causal", "bidirectional"), ("EOS", "mean", "trainable")
TASKS = [f"T{number}" for number in range(9)]
FAMILIES = parse_families({"Kind": [[task] for task in [*TASKS, *(f"{task}x" for task in TASKS)]]})


def made_up(runs: int = 3, noise: float = 0.004, interaction: float = 0.03, kinds: int = 1, attention: float = 0.0) -> Table:
    """Make designs of which the trainable pooling alone gains from bidirectional attention."""
    generator = np.random.default_rng(6)
    names = [f"{attention} {pooling}" for attention in ATTENTIONS for pooling in POOLINGS]
    table = Table(tuple(names), dict.fromkeys(names, runs), [])
    for kind in range(kinds):
        table.categories[f"Kind{kind}"] = [f"{task}{'x' * kind}" for task in TASKS]
    for name in names:
        of_attention, pooling = name.split(" ")
        table.factors[name] = (of_attention, pooling)
        both = of_attention == "bidirectional"
        effect = interaction * (both and pooling == "trainable") + attention * both
        seeds = generator.normal(0, 0.002, runs)
        for task in table.tasks:
            table.scores[name, task] = 0.5 + effect + noise * generator.normal() + seeds
            table.files[name, task] = [None] * runs
    return table


def grid_of(table: Table) -> Grid:
    grid = make_grid(table, FAMILIES, 0.01, 0)
    assert grid is not None
    return grid


def by_effect(grid: Grid, effect: str) -> list[Contrast]:
    return [one for kind, one in zip(grid.effects, grid.categories[0].contrasts, strict=True) if kind == effect]


def test_contrasts_are_the_formulas() -> None:
    table = made_up()
    grid = grid_of(table)
    assert grid.effects == [ATTENTION, POOLING, POOLING, INTERACTION, INTERACTION]
    assert grid.attentions == ("bidirectional", "causal") and grid.poolings == ("mean", "trainable", "EOS")

    def score(attention: str, pooling: str) -> np.ndarray:
        return np.array([table.scores[f"{attention} {pooling}", task].mean() for task in TASKS])

    gains = {pooling: score("bidirectional", pooling) - score("causal", pooling) for pooling in POOLINGS}
    (attention,) = by_effect(grid, ATTENTION)
    assert list(attention.differences.values()) == pytest.approx(np.mean(list(gains.values()), axis=0), abs=1e-6)
    trainable = by_effect(grid, POOLING)[1]
    assert (trainable.a, trainable.b) == ("trainable", "EOS")
    expected = sum(score(one, "trainable") - score(one, "EOS") for one in ATTENTIONS) / 2
    assert list(trainable.differences.values()) == pytest.approx(expected, abs=1e-6)
    interaction = by_effect(grid, INTERACTION)[1]
    assert list(interaction.differences.values()) == pytest.approx(gains["trainable"] - gains["EOS"], abs=1e-6)
    assert grid.simple["Kind0"]["mean"] == pytest.approx(gains["mean"].mean(), abs=1e-6)


def test_the_noise_of_all_runs_is_in_the_error() -> None:
    table = made_up()
    interaction = by_effect(grid_of(table), INTERACTION)[1]
    units = np.array(list(interaction.differences.values()))
    parts = []
    for attention in ATTENTIONS:
        for pooling in ("trainable", "EOS"):
            means = np.mean([table.scores[f"{attention} {pooling}", task] for task in TASKS], axis=0)
            parts.append((means.var(ddof=1) / 3, 2))  # weight 1 each: the interaction is a sum of four means
    of_runs, df_runs = combine(parts)
    of_units = units.std(ddof=1) / 3
    error = float(np.hypot(of_units, of_runs))
    expected = JointError(error, (of_runs / error) ** 2, 8, df_runs).p(units.mean())
    assert interaction.another_run.p_crossed == pytest.approx(expected)


def test_an_interaction_is_shown_and_said() -> None:
    grid = grid_of(made_up(kinds=2))
    shown = {(row.kind, row.effect, row.a.partition(" with ")[2]) for row in grid_rows(grid) if row.mark}
    assert ("Kind0", INTERACTION, "trainable") in shown and ("all kinds together", INTERACTION, "trainable") in shown
    assert ("Kind0", INTERACTION, "mean") not in shown
    said = " ".join(grid_answer(grid))
    assert "The gain of bidirectional over causal attention is larger by" in said and "than with EOS pooling" in said
    assert "(designs, p" in said and "checkpoint" not in said
    assert gains_text(grid)[0].startswith("Kind0: bidirectional − causal attention is ")


def test_one_run_each_speaks_of_checkpoints() -> None:
    grid = grid_of(made_up(runs=1))
    (interaction,) = [row for row in grid_rows(grid) if row.mark and row.effect == INTERACTION]
    assert interaction.mark.endswith("checkpoint") and "(checkpoints, p" in interaction.sentence


def test_no_interaction_is_said_too() -> None:
    said = " ".join(grid_answer(grid_of(made_up(interaction=0.0, attention=0.03))))
    assert "bidirectional attention is better than causal by 2.92 points" in said
    assert "depends on the pooling is not shown" in said
    quiet = " ".join(grid_answer(grid_of(made_up(interaction=0.0, noise=0.02))))
    assert quiet.startswith("Neither an effect of attention")


def test_what_cannot_be_decided_is_not_said_to_be_looked_for_in_vain() -> None:
    assert "all runs of all designs are in their errors" in about_grid(grid_of(made_up()))
    single = made_up(runs=1)
    assert "the noise between runs is not in their errors" in about_grid(grid_of(single))
    single.categories["Kind0"] = single.categories["Kind0"][:3]
    assert grid_answer(grid_of(single))[0].endswith("too few unrelated tasks, or their relations are unknown.")


def test_designs_that_do_not_cross_have_no_grid() -> None:
    table = made_up()
    table.factors["causal mean"] = ("causal", "EOS")
    assert cross(table) is None, "two systems of one attention and pooling"
    table = made_up()
    table.factors = {name: factors for name, factors in table.factors.items() if factors[0] == "causal"}
    assert cross(table) is None
    table = made_up()
    del table.factors["causal mean"]
    crossing = cross(table)
    assert crossing is not None and list(crossing["causal"]) == ["trainable", "EOS"], "a pooling without both is left out"


def test_failed_runs_are_said_and_nothing_is_claimed_of_designs() -> None:
    """Of bidirectional designs 3 of 5 runs failed, and all runs of all designs were said to be in the errors."""
    table = made_up(runs=5, interaction=0.0, attention=0.03, kinds=2)
    assert any(row.mark for row in grid_rows(grid_of(table)))
    for pooling in POOLINGS:
        for task in table.tasks:
            table.scores[f"bidirectional {pooling}", task][:3] = np.nan
            table.failed[f"bidirectional {pooling}", task] = 3
    grid = grid_of(table)
    rows = [row for row in grid_rows(grid) if row.effect == ATTENTION]
    assert len(rows) == 3 and all(row.scored_only and not row.mark for row in rows)
    assert all("nothing is claimed of designs" in row.sentence and "(designs" not in row.sentence for row in rows)
    said = " ".join(grid_answer(grid))
    assert "in what was scored (p" in said and "mean, bidirectional trainable and bidirectional EOS failed" in said
    assert "all runs of all designs" not in about_grid(grid) and "nothing is claimed of designs there" in about_grid(grid)


def test_the_p_of_designs_is_the_one_that_decides() -> None:
    table = made_up(interaction=0.0, attention=0.03)
    for place, name in enumerate(table.systems):
        table.scores |= {
            (name, task): table.scores[name, task] + 0.014 * np.array([1, 0, -1]) * (-1) ** place for task in table.tasks
        }
    grid = grid_of(table)
    contrast = by_effect(grid, ATTENTION)[0]
    row = next(row for row in grid_rows(grid) if row.effect == ATTENTION)
    assert contrast.starred and contrast.another_run.p is not None
    assert f"(designs, p {row.p_run})" in row.sentence and row.p_run != row.p


def test_a_kind_in_which_a_design_failed_everywhere_takes_the_claim_over_kinds_too() -> None:
    table = made_up(runs=5, interaction=0.0, attention=0.03, kinds=3)
    (row,) = [row for row in grid_rows(grid_of(table)) if row.effect == ATTENTION and row.kind == ALL]
    assert row.mark == "*"
    for task in table.categories["Kind2"]:
        del table.scores["bidirectional EOS", task]
    grid = grid_of(table)
    (row,) = [row for row in grid_rows(grid) if row.effect == ATTENTION and row.kind == ALL]
    assert grid.left_out == ["Kind2"] and row.scored_only and not row.mark
    assert "runs or tasks of bidirectional EOS failed or are missing" in row.sentence


def test_what_has_no_score_is_named() -> None:
    table = made_up(kinds=2)
    for task in table.categories["Kind1"]:
        del table.scores["causal EOS", task]
    for task in table.tasks:
        table.scores.pop(("causal mean", task))
    grid = grid_of(table)
    assert grid.left_out == ["Kind1"] and set(grid.without) == {"bidirectional mean", "causal mean"}
    assert "Left out, without a task that all have: Kind1." in about_grid(grid)
    table = made_up()
    del table.scores["causal EOS", "T0"]
    assert grid_of(table).lost["Kind0"][0] == ["causal EOS"] and not any(row.mark for row in grid_rows(grid_of(table)))


def test_kinds_that_contradict_each_other_have_no_answer_together() -> None:
    table = made_up(interaction=0.0, attention=0.06, kinds=2)
    for system in table.systems:
        for task in table.categories["Kind1"]:
            if system.startswith("bidirectional"):
                table.scores[system, task] = table.scores[system, task] - 0.09
    grid = grid_of(table)
    signs = [category.contrasts[0] for category in grid.categories]
    assert all(one.starred for one in signs) and signs[0].by_family.mean * signs[1].by_family.mean < 0
    together = replace(grid.overall[0], p=0.01, p_run=0.01)
    grid = replace(grid, overall=[together, *grid.overall[1:]])
    row = next(row for row in grid_rows(grid) if row.kind == ALL)
    assert together.opposed and row.mark == "" and "kinds of task contradict each other" in row.sentence


def test_the_same_revision_is_asked_of_the_grid_too() -> None:
    table = made_up()
    for system in table.systems:
        revision = "old" if system == "causal EOS" else "new"
        table.files[system, "T0"] = [Score("T0", {}, "Kind0", revision, None, Path("T0.json"))] * 3
    assert "T0" in grid_of(table).categories[0].contrasts[0].differences
    grid = make_grid(table, FAMILIES, 0.01, 0, same_revision=True)
    assert grid is not None
    assert all(one.missing.get("T0") == "other data" for one in by_effect(grid, ATTENTION) + by_effect(grid, POOLING))


def test_the_grid_stands_in_the_outputs() -> None:
    found = compare(made_up(), FAMILIES, Options("causal EOS"))
    text = as_markdown(found)
    assert "## The grid: attention and pooling" in text and "| Kind0 | interaction |" in text
    with style():
        plot = draw_grid(found, "grid")
    assert plot is not None and len(plot.rows) == 5 and "larger by" in plot.alt
