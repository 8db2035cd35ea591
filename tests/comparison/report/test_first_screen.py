"""The first screen: three sentences and a picture; ranks, mean scores, methods and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comparison.claims.outcome import Comparison
from comparison.claims.ranks import first_set, rank_intervals
from comparison.reading.study_data import CellData, CurvePoint, StudyData
from comparison.reading.systems import StudyResults
from comparison.report.labels import by_what_they_are
from comparison.report.methods import BIBTEX, methods
from comparison.report.plots.curve_panels import draw_curve_panels
from comparison.report.plots.drawing import series_of, style
from comparison.report.plots.mean_ranks import draw_mean_ranks
from comparison.report.plots.overview import draw_overview
from comparison.report.tables.scores import mean_scores, score_table
from comparison.report.words.answer import answer
from comparison.report.words.first import first_sentences
from tests.comparison.report.outcomes import made_up


def sentences(found: Comparison) -> list[str]:
    return first_sentences(found, [answer(category, found) for category in found.categories])


def test_the_best_news_comes_first() -> None:
    found = made_up({"fine": 0.02, "good": 0.03, "same": 0.0, "bad": -0.03}, kinds=2)
    first, second, third = sentences(found)
    assert first.startswith("Better than base over all kinds of task: good by 2.92 points [+2.60, +3.25]; fine by 1.99")
    assert first.endswith("; one system is shown to be worse.")
    assert second.startswith("Kind by kind: Kind: choose good or fine; Kind1: choose")
    assert third.startswith("It speaks of checkpoints")
    assert "speaks of designs" in sentences(made_up({"good": 0.03}, runs=3, kinds=2))[-1]


def test_nothing_is_claimed_that_is_not_shown() -> None:
    assert sentences(made_up({"same": 0.0}, kinds=2))[0] == (
        "Over all kinds of task nobody is shown to be better or worse than base."
    )
    few = sentences(made_up({"good": 0.03}, tasks=2, kinds=2))
    assert few[0] == "Over all kinds of task nothing can be decided: too few unrelated tasks."
    assert few[1] == "Kind by kind: Kind and Kind1 cannot be decided with so few unrelated tasks."
    pairs = sentences(made_up({"good": 0.05, "bad": -0.05}, kinds=2, baseline=None))
    assert pairs[0] == "Over all kinds of task nobody is shown to be better than good; 3 of 3 pairs are shown to differ."


def test_ranks_are_what_the_shown_differences_leave() -> None:
    found = made_up({"good": 0.05, "like": 0.0, "bad": -0.05}, baseline=None).categories[0]
    assert found.rank_intervals == {"base": (2, 3), "good": (1, 1), "like": (2, 3), "bad": (4, 4)}
    assert first_set(found.rank_intervals) == ["good"]
    assert first_set(rank_intervals(["a", "b"], [])) == ["a", "b"]
    assert made_up({"good": 0.05}).categories[0].rank_intervals is None


def test_rank_intervals_hold_where_no_comparison_is_wrong() -> None:
    generator = np.random.default_rng(0)
    hits = []
    for _ in range(100):
        truth = generator.normal(0, 1, 6)
        allowed = rank_intervals(
            list("abcdef"),
            [("abcdef"[i], "abcdef"[j]) for i in range(6) for j in range(6) if truth[i] - truth[j] > 1.0],
        )
        ranks = (-truth).argsort().argsort() + 1
        hits.append(all(low <= rank <= high for rank, (low, high) in zip(ranks, allowed.values(), strict=True)))
    assert all(hits), "where no pair is wrong, no interval is"


def test_the_picture_shows_what_is_decided() -> None:
    found = made_up({"good": 0.03, "same": 0.0, "bad": -0.03}, kinds=2)
    with style():
        plot = draw_overview(found, "overview")
        ranks = draw_overview(made_up({"good": 0.03, "same": 0.0}, kinds=2, baseline=None), "overview")
        assert draw_overview(made_up({f"m{number}": 0.0 for number in range(40)}), "overview") is None
    assert plot is not None and [row[0] for row in plot.rows] == ["good", "same", "bad"], "the best first"
    assert plot.head == ["system", "All kinds", "Kind", "Kind1"]
    assert plot.rows[0][1].endswith("shown") and plot.rows[1][1].endswith("not separated")
    assert "Decided: All kinds 2 of 3" in plot.alt
    assert ranks is not None and ranks.rows[0][1] == "1 [1, 1]"


def test_a_system_with_easy_tasks_alone_has_no_point_among_ranks() -> None:
    found = made_up({"mid": 0.03, "easy": 0.1}, without={"easy": ["T0", "T1", "T2", "T3"]}, baseline=None)
    found = replace(
        found, categories=[replace(found.categories[0], rank_intervals={"base": (3, 3), "mid": (2, 2), "easy": (1, 2)})]
    )
    with style():
        ranks = draw_overview(found, "overview")
    assert ranks is not None
    said = {row[0]: row[1] for row in ranks.rows}
    assert said == {"easy": "– [1, 2]", "mid": "1 [2, 2]", "base": "2 [3, 3]"}
    assert "A system without tasks that others have has no point" in ranks.caption


def test_the_picture_tells_what_is_hollow_apart() -> None:
    half = made_up({"good": 0.03, "same": 0.0}, kinds=2, without={"good": ["T1", "T2", "T3"]})
    alike = made_up({"same": 0.0}, noise=0.002)
    with style():
        picture, equal = draw_overview(half, "overview"), draw_overview(alike, "overview")
    assert picture is not None and picture.rows[0][2].endswith("only in what was scored")
    assert "or, where the numbers say so, only in what was scored" in picture.caption
    assert equal is not None and equal.rows[0][1].endswith(", equivalent"), "not said to be just not separated"


def test_mean_scores_are_sorted_and_only_of_complete_systems() -> None:
    found = made_up({"good": 0.03, "part": 0.2}, kinds=2, without={"part": ["T1"]})
    rows = mean_scores(found)
    assert [row.system for row in rows] == ["good", "base", "part"] and rows[2].over_kinds is None
    assert rows[0].over_tasks == pytest.approx(np.mean([*found.categories[0].scores["good"].values(),
                                                        *found.categories[1].scores["good"].values()]))  # fmt: skip
    assert score_table(found)[1][2][1:3] == ["–", "–"]


def test_methods_have_the_numbers_and_cite_what_stands_below() -> None:
    text = " ".join(methods(made_up({"good": 0.03, "same": 0.0}, kinds=2)))
    assert "We compared 2 systems with base, on 20 tasks" in text and "Kind 10 in 10 families" in text
    assert "over the 2 comparisons of the kind" in text and "multiplies p by 2" in text and "one training run" in text
    repeated = " ".join(methods(made_up({"good": 0.03}, runs=3)))
    assert "With 3 runs of each design" in repeated and "checkpoints" not in repeated
    diverged = " ".join(methods(made_up({"good": 0.03}, runs=3, failed={"good": 2, "base": 2})))
    assert "Each system is one training run" in diverged, "of those that have scores"
    few = " ".join(methods(made_up({"good": 0.03}, tasks=3)))
    assert "For Kind nothing is claimed of other tasks" in few and "sign flips" not in few
    for paragraph in (text, repeated, few):
        for key in ("westfall1993resampling", "tarone1990modified", "clark1973language", "muennighoff2023mteb"):
            assert f"{{{key}," in BIBTEX or key not in paragraph


def study(cells: list[CellData]) -> StudyResults:
    return StudyResults(StudyData(cells=cells), Path("study"))


def test_designs_are_called_by_what_they_are() -> None:
    cells = [
        CellData("base-1", "base", attention="causal", pooling="EOS"),
        CellData("good-1", "good", attention="bidirectional", pooling="mean"),
        CellData("other", "other", kind="baseline"),
    ]
    found, (renamed,) = by_what_they_are(made_up({"good": 0.03, "other": 0.0}), [study(cells)])
    assert list(found.systems) == ["EOS, causal (base)", "mean, bidirectional (good)", "other"]
    assert found.baseline == "EOS, causal (base)" and renamed.names["good"] == "mean, bidirectional (good)"
    assert {contrast.a for contrast in found.categories[0].contrasts} == {"mean, bidirectional (good)", "other"}
    assert set(found.categories[0].scores) == set(found.systems)
    mixed = [cells[0], replace(cells[0], name="base-2", pooling="mean")]
    assert by_what_they_are(found, [study(mixed)])[0].systems == found.systems, "two poolings under one name have no label"


def test_a_panel_for_each_curve_and_mean_ranks_on_demand() -> None:
    points = [CurvePoint(step=step, loss=3.0 - step / 10) for step in range(1, 9)]
    cells = {name: [CellData(name, name, curve=points)] for name in ("a", "b", "c")}
    found = made_up({"good": 0.03, "same": 0.0})
    with style():
        plot = draw_curve_panels(cells, "loss", series_of(cells))
        assert draw_curve_panels({"a": cells["a"]}, "loss", series_of(cells)) is None
        ranks = draw_mean_ranks(found.categories[0], found, "ranks")
    assert plot is not None and "3 systems, a panel each" in plot.alt
    assert ranks is not None and ranks.rows[0][0] == "good" and "no claim above rests on it" not in ranks.alt
    assert "count related tasks as independent" in ranks.caption


def test_the_first_sentence_names_the_kinds_that_are_left_out() -> None:
    found = made_up({"good": 0.03}, kinds=3)
    left = [replace(entry, categories={"Kind": 0.03, "Kind1": 0.03}, left_out=("Kind2",)) for entry in found.overall]
    said = sentences(replace(found, overall=left))[0]
    assert said.startswith("Better than base over 2 of 3 kinds of task (without Kind2): good by")
    assert "all kinds" not in said and said.count("kinds") == 1
    lost = made_up({"good": 0.03}, kinds=3, failed_at={("good", "Kind2"): 1})
    assert lost.not_compared == ["Kind2"]
    assert sentences(lost)[0].startswith("Better than base over 2 of 3 kinds of task (without Kind2): good by")
    part = replace(found.overall[0], a="part", mean=0.0, p=1.0, categories={"Kind1": 0.0, "Kind2": 0.0})
    said = sentences(replace(found, overall=[*found.overall, part]))[0]
    assert said.startswith("Better than base over all kinds of task (some comparisons on fewer): good by")
    same = made_up({"same": 0.0}, kinds=2, baseline=None)
    assert sentences(same)[0] == "Over all kinds of task no two systems are shown to differ."


def test_gains_over_what_nobody_trained_stand_beside_the_scores() -> None:
    trained = made_up({"good": 0.03, "bad": -0.02}, kinds=2)
    head, rows = score_table(replace(trained, as_they_are=["base"]))
    assert head[3:5] == ["training", "over base"]
    assert [row[0] for row in rows] == ["good", "base", "bad"]
    gain = float(rows[0][1]) - float(rows[1][1])
    assert rows[0][3:5] == ["1 run", f"{gain:+.2f}"] and rows[1][3:5] == ["none", "–"] and rows[2][4].startswith("-")
    assert score_table(trained)[0][3] == "Kind", "without such a system there is no such column"
