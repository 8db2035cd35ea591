"""Every reference number is reproduced: a small set made by brute force, and six public models where their results are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparison.claims.outcome import Category, Contrast
from comparison.claims.pairs import mean_score
from comparison.compare import Options, compare
from comparison.reading.families import Families, parse_families
from comparison.reading.results_folder import read
from comparison.reading.selection import select
from comparison.reading.systems import Reading, only
from comparison.reading.table import Table
from comparison.stats.effects import Interval
from comparison.stats.exact import floor
from comparison.stats.multiple import holm
from tests.tiny import SHARED

OWN = Path(__file__).with_name("reference.json")
PUBLIC, RESULTS = SHARED / "research" / "stat_reference.json", SHARED / "mteb_results" / "results"
needs_public = pytest.mark.skipif(not (PUBLIC.is_file() and RESULTS.is_dir()), reason="the public results are not here")
EXACT = 1e-9


class Case:
    """A reference with what the comparison finds for its systems: with all pairs, and against the baseline."""

    def __init__(self, reference: dict[str, Any], table: Table, families: Families) -> None:
        self.reference, self.table = reference, table
        self.every = compare(table, families, Options(None))
        self.base = compare(table, families, Options(reference["baseline"]))

    def category(self, name: str) -> Category:
        return next(one for one in self.every.categories if one.name == name)

    def pairs(self) -> Iterator[tuple[dict[str, Any], Contrast, Contrast | None]]:
        found = {(one.name, x.a, x.b): x for one in self.every.categories for x in one.contrasts}
        base = {(one.name, *sorted((x.a, x.b))): x for one in self.base.categories for x in one.contrasts}
        for wanted in self.reference["pairs"]:
            key = (wanted["category"], wanted["a"], wanted["b"])
            yield wanted, found[key], base.get((key[0], *sorted(key[1:])))


def told(reference: dict[str, Any]) -> Families:
    related = {task for families in reference["families"].values() for family in families for task in family}
    alone = {name: [task for task in tasks if task not in related] for name, tasks in reference["categories"].items()}
    return parse_families({name: [*reference["families"][name], *alone[name]] for name in alone})


def own_case() -> Case:
    reference = json.loads(OWN.read_text(encoding="utf-8"))
    table = Table(tuple(reference["models"]), dict.fromkeys(reference["models"], 1), [], reference["categories"])
    table.scores |= {
        (model, task): np.array([cell["score"]]) for model, cells in reference["cells"].items() for task, cell in cells.items()
    }
    return Case(reference, table, told(reference))


def public_case() -> Case:
    reference = json.loads(PUBLIC.read_text(encoding="utf-8"))
    reading: Reading = only(read([RESULTS]), reference["models"])
    families = told(reference)
    tasks = [task for of_category in reference["categories"].values() for task in of_category]
    return Case(reference, select(reading, families, tasks), families)


@pytest.fixture(scope="module", params=["own", pytest.param("public", marks=needs_public)])
def case(request: pytest.FixtureRequest) -> Case:
    return own_case() if request.param == "own" else public_case()


def ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None


def numbers(one: Contrast, base: Contrast | None) -> dict[str, Any]:
    """What the comparison says under the reference's names."""
    tasks, published, other = one.by_task, one.as_published, one.other_tasks
    exact, exact_90 = tasks.hodges_lehmann_interval, tasks.hodges_lehmann_interval_90
    said: dict[str, Any] = {
        "n": tasks.units, "families": other.families, "wins": tasks.wins, "losses": tasks.losses, "zeros": tasks.ties,
        "mean_diff": tasks.mean, "sd_diff": tasks.sd, "median_diff": tasks.median,
        "W_plus": tasks.w_plus, "W_minus": tasks.w_minus, "scipy_statistic": min(tasks.w_plus, tasks.w_minus),
        "p_wilcoxon_exact": published.p, "p_floor": published.p_floor, "p_signflip_mean_exact": tasks.p_sign_flip,
        "p_family_signflip_rank": published.p_by_family, "p_family_floor": other.p_floor,
        "rank_biserial": tasks.rank_biserial, "HL": tasks.hodges_lehmann,
        "HL_CI": ends(exact), "HL_CI_exact_confidence": exact and exact.confidence,
        "HL_CI90": ends(exact_90), "HL_CI90_exact_confidence": exact_90 and exact_90.confidence,
        "mean_t_CI95": ends(tasks.interval), "p_t": tasks.p_t, "new_task_prediction_interval95": ends(tasks.new_unit),
        "equivalent_within_0p01": tasks.interval_90 is not None and tasks.interval_90.inside(0.01),
        "p_holm_all_pairs_in_category": published.p_holm, "p_holm_all_pairs_all_categories": published.p_holm_table,
        "p_maxT_all_pairs_in_category": published.p_max_t_ranks,
        "p_maxT_mean_all_tasks": published.p_max_t, "p_maxT_mean_all_tasks_raw": tasks.p_sign_flip,
        "p_maxT_mean_all_families": other.p, "p_maxT_mean_all_families_raw": other.p_alone,
    }  # fmt: skip
    if base is not None:
        said |= {
            "p_holm_vs_baseline": base.as_published.p_holm,
            "p_maxT_vs_baseline": base.as_published.p_max_t_ranks,
            "p_maxT_mean_base_tasks": base.as_published.p_max_t,
            "p_maxT_mean_base_tasks_raw": base.by_task.p_sign_flip,
            "p_maxT_mean_base_families": base.other_tasks.p,
            "p_maxT_mean_base_families_raw": base.other_tasks.p_alone,
        }
    return said


def test_every_number_of_every_pair(case: Case) -> None:
    beside = {"a", "b", "category", "tasks", "m_all_pairs", "m_baseline"}
    for wanted, one, base in case.pairs():
        said = numbers(one, base)
        unchecked = set(wanted) - set(said) - beside
        assert not unchecked
        for name in set(wanted) - beside:
            if wanted[name] is None:
                assert said[name] is None, name
            else:
                assert said[name] == pytest.approx(wanted[name], abs=EXACT, rel=0), (name, one.a, one.b, wanted["category"])
        assert sorted(one.differences) == sorted(wanted["tasks"])


def test_families_of_tests(case: Case) -> None:
    for wanted, one, base in case.pairs():
        if "m_all_pairs" in wanted:
            assert len(case.category(wanted["category"]).contrasts) == wanted["m_all_pairs"]
        assert (base is not None) == ("p_holm_vs_baseline" in wanted), one
    for name, skipped in case.reference.get("skipped", {}).items():
        assert case.category(name).skipped == [tuple(pair) for pair in skipped]


def test_ranks_and_means(case: Case) -> None:
    for wanted in case.reference["friedman"]:
        found = case.category(wanted["category"]).ranks
        assert found is not None and found.tasks == wanted["n"]
        assert found.systems == pytest.approx(wanted["average_ranks"], abs=EXACT)
        assert (found.chi2, found.p) == pytest.approx((wanted["chi2"], wanted["p"]), abs=EXACT)
        assert found.critical_difference == pytest.approx(wanted["nemenyi_CD"], abs=EXACT)
    for name, means in case.reference["means"].items():
        category = case.category(name)
        for system, wanted in means.items():
            assert len(category.scores[system]) == wanted["n"]
            assert [task for task in category.tasks if task not in category.scores[system]] == wanted["missing"]
            if not wanted["missing"]:
                assert category.means[system] == pytest.approx(wanted["mean"], abs=EXACT)


def test_scores_are_those_of_the_reference(case: Case) -> None:
    for system, cells in case.reference["cells"].items():
        for task, cell in cells.items():
            assert mean_score(case.table, system, task) == cell["score"]


@needs_public
def test_what_the_papers_asterisks_can_survive() -> None:
    wanted = json.loads(PUBLIC.read_text(encoding="utf-8"))["paper_table_reassessment"]
    sizes = {"STS": (8, 3), "Classification": (6, 5), "Retrieval": (14, 13), "Clustering": (11, 6)}
    for name, (tasks, families) in sizes.items():
        assert (floor(tasks), floor(families)) == (wanted["floors"][name], wanted["family_floors"][name])
        assert holm([floor(tasks)] * 10)[0] == pytest.approx(wanted["best_case_holm_10_pairs"][name])
    stars = {name: list(cells) for name, cells in wanted["best_case_holm_vs_M1_within_category"].items()}
    every = [floor(sizes[name][0]) for name, cells in stars.items() for _ in cells]
    whole = holm(every + [0.0501] * (16 - len(every)))
    labels = [label for cells in stars.values() for label in cells]
    assert dict(zip(labels, whole, strict=False)) == pytest.approx(wanted["best_case_holm_16_whole_table"], abs=1e-5)
    for name, cells in stars.items():
        found = holm([floor(sizes[name][0])] * len(cells) + [0.0501] * (4 - len(cells)))
        assert found[: len(cells)] == pytest.approx(
            list(wanted["best_case_holm_vs_M1_within_category"][name].values()), abs=1e-5
        )
