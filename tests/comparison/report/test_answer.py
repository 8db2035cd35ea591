"""The answer in words: what may be chosen, what is tied, what cannot be decided, and of what it speaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comparison.claims.outcome import Comparison
from comparison.report.tables.paper_table import make_table
from comparison.report.tables.paper_text import as_latex, caption, notes
from comparison.report.words.answer import CHOSEN, CONVERGED, KEPT, OPEN, TIED, UNDECIDABLE, answer, in_short, overall, whose
from comparison.report.words.cells import run_cell
from comparison.report.words.first import first_sentences
from comparison.report.words.marks import mark_text
from comparison.report.words.wording import points, verdict
from tests.comparison.report.outcomes import TASKS, made_up


def said(found: Comparison) -> str:
    one = answer(found.categories[0], found)
    return " | ".join([one.headline, *(f"{claim}: {' '.join(sentences)}" for claim, sentences in one.claims)])


def test_better_systems_may_be_chosen_and_are_not_ranked() -> None:
    found = made_up({"good": 0.03, "fine": 0.02, "same": 0.0, "bad": -0.03})
    one = answer(found.categories[0], found)
    assert one.outcome == CHOSEN and one.choose == ["good", "fine"]
    assert one.headline.startswith("Choose good or fine: better than base on other tasks of this kind. They were not compared")
    assert ("worse than base", ["bad"]) in one.groups and ("better than base", ["good", "fine"]) in one.groups
    assert in_short([one])[0][1].startswith("Kind: choose good or fine (checkpoints, p ≤ .")


def test_a_difference_on_these_tasks_only_is_no_reason_to_choose() -> None:
    found = made_up({"good": 0.03})
    only = replace(found.categories[0], contrasts=[replace(one, mark="o") for one in found.categories[0].contrasts])
    one = answer(only, replace(found, categories=[only]))
    assert one.outcome == OPEN and one.choose == [] and one.sure == ""


def test_one_run_never_speaks_of_designs() -> None:
    found = made_up({"good": 0.03})
    text = said(found)
    assert "Not measured: seed noise is unknown" in text and "about checkpoints, not designs" in text
    assert "standard deviation over runs were above" in text and "speaks of designs" not in text
    assert "Everything below speaks of checkpoints" in whose(found)


def test_repeated_runs_speak_of_designs() -> None:
    found = made_up({"good": 0.03, "same": 0.0}, runs=3, seed_sd=0.002)
    text = said(found)
    assert "This speaks of designs, not only of these checkpoints." in text and "Not measured" not in text
    assert "3 and 3 runs" in text and "speaks of designs" in whose(found)
    assert "(designs, p " in in_short([answer(found.categories[0], found)])[0][1]


def test_one_task_tells_nothing_of_runs_however_many() -> None:
    found = made_up({"good": 0.03}, runs=3, tasks=1)
    assert "For another training run: Cannot be decided with 1 family of tasks, however many runs there are." in said(found)
    assert whose(found).endswith("Where there is one family of tasks only, nothing can be said of designs.")
    (one,) = found.categories[0].contrasts
    assert not one.checkpoint and run_cell(one) == "3 and 3 runs, cannot be said of designs: one family only"
    assert "checkpoints" not in said(found) + caption(make_table(found))


def test_what_runs_could_overturn_is_not_chosen() -> None:
    found = made_up({"shaky": 0.03}, runs=3, seed_sd=0.03)
    one = answer(found.categories[0], found)
    assert one.outcome == OPEN and "another run may say otherwise" in said(found)
    assert "No difference between designs is shown" in said(found)


def test_few_families_decide_nothing() -> None:
    found = made_up({"good": 0.2}, tasks=5)
    one = answer(found.categories[0], found)
    assert one.outcome == UNDECIDABLE and one.choose == []
    assert one.headline == "Which to choose cannot be decided with 5 families of tasks."
    assert "the smallest p is .062" in said(found) and "good ahead of base on 5 of 5" in said(found)
    assert in_short([one]) == [(UNDECIDABLE, "Kind: cannot be decided, too few unrelated tasks.")]


def test_the_baseline_is_kept_where_all_are_worse() -> None:
    one = answer((found := made_up({"bad": -0.03, "worse": -0.05})).categories[0], found)
    assert one.outcome == KEPT and one.choose == ["base"] and one.headline.startswith("Keep base: all others are worse")


def test_equivalent_systems_are_tied() -> None:
    one = answer((found := made_up({"same": 0.0, "alike": 0.001})).categories[0], found)
    assert one.outcome == TIED and one.choose == ["base", "alike", "same"]
    assert one.headline == (
        "Each of alike and same is equivalent to base within 1 point (checkpoints): one that is cheaper may take its place. "
        "They were not compared with each other."
    )
    assert in_short([one])[0][1] == "Kind: each of alike and same is equivalent to base (checkpoints)."
    two = answer((found := made_up({"same": 0.0})).categories[0], found)
    assert two.headline == "base and same are equivalent within 1 point (checkpoints): choose the cheapest."
    pairs = answer((found := made_up({"same": 0.0, "alike": 0.001}, baseline=None)).categories[0], found)
    assert pairs.headline == "base, same and alike are equivalent within 1 point (checkpoints): choose the cheapest."


def test_systems_that_differ_by_more_than_the_margin_are_not_called_equivalent() -> None:
    """p is .8 above the baseline and q .8 below: 1.6 margins apart, and never compared."""
    found = made_up({"p": 0.008, "q": -0.008}, tasks=14, noise=0.001)
    one = answer(found.categories[0], found)
    assert one.outcome == TIED and one.headline.startswith("Each of p and q is equivalent to base within 1 point (checkpoints)")
    said_first = " ".join(first_sentences(found, [one]))
    assert "equivalent to base, each for itself: p and q" in said_first
    assert "cheapest" not in one.headline + in_short([one])[0][1] + said_first


def test_no_reason_to_choose_is_none_in_spite_of_failures_either() -> None:
    found = made_up({"best": 0.005, "lost": 0.005}, runs=7, seed_sd=0.0001, noise=0.0005, failed={"best": 1, "lost": 6})
    contrast, other = found.categories[0].contrasts
    assert contrast.negligible and contrast.carried and contrast.sensitivity is not None and not other.carried
    found = replace(found, categories=[replace(found.categories[0], contrasts=[contrast])])
    one = answer(found.categories[0], found)
    assert one.outcome == CONVERGED and one.choose == []
    assert "best is equivalent to base within 1 point in the runs that converged" in one.headline
    assert "best is better than base, by less than 1 point, in what did not fail: no reason to choose it." in one.headline
    groups = dict(one.groups)
    assert groups["better than base, by less than 1 point"] == ["best"] and "better than base" not in groups
    assert not any(what.startswith("equivalent") for what in groups)


def test_nobody_is_chosen_where_nothing_is_shown() -> None:
    one = answer((found := made_up({"maybe": 0.01, "bad": -0.2}, noise=0.03)).categories[0], found)
    assert one.outcome == OPEN and one.choose == [] and "bad is shown to be worse." in one.headline
    assert "Not separated: maybe − base [" in said(found)


def test_all_pairs_have_groups() -> None:
    found = made_up({"good": 0.06, "great": 0.062, "bad": -0.05}, baseline=None)
    one = answer(found.categories[0], found)
    assert one.outcome == CHOSEN and one.choose == ["great", "good"]
    assert one.headline == (
        "Choose among great and good: beaten by nobody, each shown to be better than somebody on other tasks of this kind, and "
        "not separated from each other."
    )
    assert ("shown to be worse than somebody", ["base", "bad"]) in one.groups
    alone = made_up({"great": 0.06, "bad": -0.05}, baseline=None)
    assert answer(alone.categories[0], alone).headline.startswith("Choose great: everybody else is shown to be worse")
    table = make_table(found)
    assert [row.cells[0].mark for row in table.rows] == ["b", "a", "a", "c"] and "share a letter" in caption(table)


def test_who_has_few_tasks_is_hard_to_beat_and_not_chosen_for_it() -> None:
    found = made_up({"good": 0.06, "some": 0.01, "bad": -0.05}, baseline=None)
    found.categories[0].means["some"] = None
    beaten = [one for one in found.categories[0].contrasts if "some" in (one.a, one.b)]
    kept = [replace(one, mark="") if one in beaten else one for one in found.categories[0].contrasts]
    found = replace(found, categories=[replace(found.categories[0], contrasts=kept)])
    one = answer(found.categories[0], found)
    assert one.choose == ["good"] and "some cannot be ruled out" in one.headline
    assert ("cannot be ruled out: beaten by nobody, better than nobody", ["some"]) in one.groups


def test_over_all_kinds() -> None:
    found = made_up({"good": 0.03, "same": 0.0}, kinds=2)
    sentences = overall(found)
    assert any(one.startswith("good is better than base by") and one.endswith("(checkpoints).") for one in sentences)
    assert "Not separated over all kinds of task: 1 comparison of 2." in sentences
    few = made_up({"good": 0.03}, tasks=2, kinds=2)
    assert overall(few) == ["Cannot be decided, too few families in all: 1 comparison of 1."]
    pairs = made_up({"good": 0.03, "same": 0.0}, kinds=2, baseline=None)
    assert overall(pairs)[0] == ("Better than somebody and beaten by nobody: good. 2 of 3 comparisons are separated.")
    assert found.overall[0].simultaneous is not None
    assert f"points [{points(found.overall[0].simultaneous.low)}, " in sentences[0]


def test_the_table_has_marks_and_notes() -> None:
    found = made_up({"good": 0.03, "name_with_$": -0.001})
    table = make_table(found)
    base, good, other = table.rows
    assert base.baseline and base.cells[0].number == f"{base.cells[0].value:.4f}".removeprefix("0")
    assert good.cells[0].mark == "**" and notes(good.cells[0], 10) == "c" and good.cells[0].number.startswith("+.0")
    assert other.cells[0].mark == "" and notes(other.cells[0], 10) == "" and notes(other.cells[0], 11) == " (10)"
    text = as_latex(table)
    assert r"name\_with\_\$" in text and r"\textsuperscript{{*}{*}c}" in text and "c: speaks of checkpoints" in text
    few = make_table(made_up({"good": 0.2}, tasks=5))
    assert notes(few.rows[1].cells[0], 5) == "‡" and few.rows[1].cells[0].mark == "" and "‡: too few families" in caption(few)
    assert "no star can be had" in caption(few) and "**" not in caption(few) and "**" in caption(make_table(found))


def test_a_design_of_which_most_runs_diverged_is_not_chosen() -> None:
    found = made_up({"best": 0.03, "other": 0.0}, runs=3, seed_sd=0.001, failed={"best": 2})
    one = answer(found.categories[0], found)
    assert one.outcome == CONVERGED and one.choose == [] and one.sure == ""
    why = "best leads base in the runs that converged; 2 of 3 runs of best diverged or failed, so best is not chosen."
    assert one.headline == why and in_short([one]) == [(CONVERGED, f"Kind: {why}")]
    assert "2 of 3 runs of best diverged or failed" in whose(found)
    pairs = made_up({"best": 0.03, "other": 0.0}, runs=3, seed_sd=0.001, failed={"best": 2}, baseline=None)
    assert answer(pairs.categories[0], pairs).headline == why.replace("leads base", "leads base and other")
    assert "it does not stand with failures counted as losses" in said(found) + verdict(found.categories[0].contrasts[0], 0.01)
    assert "This speaks of designs" not in said(found)
    table = make_table(found)
    assert notes(table.rows[1].cells[0], 10) == "cf" and " f: only in what was scored" in caption(table)
    assert mark_text(found.categories[0].contrasts[0]) == "** checkpoint, only in what did not fail"
    assert mark_text(made_up({"best": 0.03}).categories[0].contrasts[0]) == "** checkpoint"
    steady = made_up({"best": 0.03}, runs=3, seed_sd=0.001, noise=0.0001, failed={"best": 2})
    (lost,) = steady.categories[0].contrasts
    assert lost.sensitivity is not None and lost.sensitivity.p <= 0.05 and lost.sensitivity.mean > 0
    assert answer(steady.categories[0], steady).outcome == CONVERGED, "one run that converged of three is no design"


def test_a_choice_in_spite_of_failures_names_them() -> None:
    found = made_up({"best": 0.03}, runs=3, seed_sd=0.001, failed={"best": 1})
    one = answer(found.categories[0], found)
    assert one.choose == ["best"] and "of what was scored: 1 of 3 runs of best diverged or failed" in one.sure
    assert one.headline.endswith("This speaks of converged runs: 1 of 3 runs of best diverged or failed.")
    assert "weak: two runs" in one.sure, "the noise of two runs is pooled"


def test_who_diverged_is_not_equivalent_and_a_baseline_that_diverged_is_not_kept() -> None:
    found = made_up({"same": 0.0}, runs=3, seed_sd=0.0002, noise=0.001, failed={"same": 2})
    one = answer(found.categories[0], found)
    assert one.outcome == CONVERGED and "so none is chosen for its cost" in one.headline
    found = made_up({"bad": -0.03}, runs=3, seed_sd=0.001, failed={"base": 2})
    one = answer(found.categories[0], found)
    assert one.outcome == CONVERGED and "2 of 3 runs of base diverged or failed, so base is not chosen" in one.headline


@pytest.mark.parametrize("baseline", ["base", None])
def test_who_failed_everywhere_is_named_and_nothing_is_kept(baseline: str | None) -> None:
    found = made_up({"dead": 0.0, "bad": -0.03}, runs=3, failed={"dead": 3}, baseline=baseline, seed_sd=0.001)
    one = answer(found.categories[0], found)
    assert one.outcome != KEPT and "everybody else" not in one.headline and "all others" not in one.headline
    assert one.headline.endswith("dead failed everywhere (all 3 runs).") and "bad" in one.headline
    assert (CONVERGED, "Kind: dead failed everywhere (all 3 runs).") in in_short([one])
    assert ("failed everywhere", ["dead"]) in one.groups


def test_a_run_that_failed_is_no_draw() -> None:
    found = made_up({"same": 0.0}, runs=2, noise=0.0, failed={"same": 1})
    (one,) = found.categories[0].contrasts
    assert one.by_task.mean == 0 and one.sensitivity is not None
    assert one.sensitivity.mean == pytest.approx(-0.01 / 2), "at least the margin, one run of two"


def test_who_failed_at_one_kind_is_not_better_over_all() -> None:
    found = made_up({"x": 0.02, "y": -0.04}, kinds=3, failed_at={("x", "Kind2"): 1})
    one = next(one for one in found.overall if one.a == "x")
    assert list(one.categories) == ["Kind", "Kind1"] and one.p <= 0.05, "there it is better"
    assert one.mean_failures is not None and one.mean_failures < one.mean and not one.carried
    assert one.mean_failures == pytest.approx((2 * one.mean - max_of(found, "Kind2")) / 3)
    assert next(one for one in found.overall if one.a == "y").p_failures is None


def max_of(found: Comparison, name: str) -> float:
    (category,) = (one for one in found.categories if one.name == name)
    return max(abs(value) for one in category.contrasts for value in one.differences.values())


def test_failures_count_over_all_kinds_too() -> None:
    found = made_up({"best": 0.03}, runs=3, seed_sd=0.001, failed={"best": 2}, kinds=2)
    (one,) = found.overall
    assert one.p <= 0.05 and not one.carried and one.mean_failures is not None and one.mean_failures < one.mean / 2
    assert "67% of its runs failed" in overall(found)[0] and "it is not called better" in overall(found)[0]
    fine = made_up({"best": 0.03}, runs=3, seed_sd=0.001, kinds=2)
    assert fine.overall[0].p_failures is None and overall(fine)[0].endswith("(designs).")


def test_who_beats_nobody_is_not_chosen() -> None:
    found = made_up({"good": 0.06, "idle": 0.0}, baseline=None)
    kept = [replace(one, mark="" if "idle" in (one.a, one.b) else one.mark) for one in found.categories[0].contrasts]
    found = replace(found, categories=[replace(found.categories[0], contrasts=kept)])
    one = answer(found.categories[0], found)
    assert one.choose == ["good"] and "idle cannot be ruled out: shown to be neither better nor worse" in one.headline
    assert one.headline.startswith("Choose good: shown to be better than base on other tasks of this kind")


def test_who_was_never_compared_is_said() -> None:
    parts = {"good": TASKS[:7], "bad": TASKS[7:]}
    found = made_up({"good": 0.06, "bad": -0.06}, tasks=14, baseline=None, without=parts)
    one = answer(found.categories[0], found)
    assert one.choose == ["base"] and "everybody else" not in one.headline
    lost = "good leads base on the tasks that both have; good has no score on 7 of 14 tasks, so good is not chosen."
    assert lost in one.headline and one.headline.endswith("Never compared, without a common task: good and bad.")


def test_equivalence_speaks_of_designs_only_with_runs() -> None:
    single = made_up({"same": 0.0})
    assert "(checkpoints)" in answer(single.categories[0], single).headline
    assert "equivalent within 1 point (checkpoint)" in verdict(single.categories[0].contrasts[0], 0.01)
    noisy = made_up({"same": 0.0}, runs=3, seed_sd=0.02)
    (one,) = noisy.categories[0].contrasts
    assert one.another_run.p_equivalent is not None and one.another_run.p_equivalent > 0.05 and not one.equivalent
    luck = replace(one, other_tasks=replace(one.other_tasks, p_equivalent=0.001))
    assert not luck.equivalent and replace(luck, another_run=replace(one.another_run, p=None)).equivalent
    steady = made_up({"same": 0.0}, runs=3, seed_sd=0.0005, noise=0.002)
    assert answer(steady.categories[0], steady).sure == "designs" and steady.categories[0].contrasts[0].equivalent


@pytest.mark.parametrize("systems", [2, 7])
def test_many_comparisons_stay_readable(systems: int, tmp_path: Path) -> None:
    found = made_up({f"good{number}": 0.02 + 0.01 * number for number in range(systems * 2)})
    sentences = answer(found.categories[0], found).claims[1][1]
    assert len(sentences) <= 9 and (systems == 2 or sentences[8] == "And 6 more, in comparison.csv.")
