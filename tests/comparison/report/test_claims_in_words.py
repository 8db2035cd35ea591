"""The words follow the claims: who was trained once, what is weak, what is too small to matter, what was chosen afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from comparison.claims.outcome import Comparison, Contrast, Outlook, WithoutOne
from comparison.claims.without_one import with_families_left_out
from comparison.compare import BEST, Options, best_system, common_tasks, compare
from comparison.reading.families import parse_families
from comparison.reading.table import Table
from comparison.report.tables.markdown import as_markdown
from comparison.report.words.answer import OPEN, TIED, answer, in_short, whose
from comparison.report.words.wording import verdict
from comparison.stats.multiple import step_down_max_t

TASKS = [f"T{number}" for number in range(12)]
EVERY = sorted({*TASKS, *(f"{task}{kind}" for task in TASKS for kind in range(2))})


def compared(
    effects: Mapping[str, tuple[float, int]],
    baseline: str | None = "base",
    noise: float = 0.004,
    kinds: int = 1,
    **options: object,
) -> Comparison:
    """Compare systems by (effect, runs)."""
    generator = np.random.default_rng(3)
    systems = {"base": (0.0, 3), **effects}
    table = Table(tuple(systems), {name: runs for name, (_, runs) in systems.items()}, [])
    table.as_they_are = frozenset(options.get("as_they_are", ()))  # type: ignore[call-overload]
    for kind in range(kinds):
        table.categories[f"Kind{kind}"] = names = [f"{task}{kind}" for task in TASKS]
        for name, (effect, runs) in systems.items():
            seeds = generator.normal(0, 0.001, runs)
            for task in names:
                table.scores[name, task] = 0.5 + effect + noise * generator.normal() + seeds
                table.files[name, task] = [None] * runs
    return compare(table, parse_families({"Known": [[task] for task in EVERY]}), Options(baseline))


def contrast(found: Comparison, name: str) -> Contrast:
    return next(one for one in found.categories[0].contrasts if one.a == name)


def test_a_design_trained_once_is_a_checkpoint_whatever_the_others_are() -> None:
    found = compared({"often": (0.03, 3), "once": (0.03, 1)})
    assert not contrast(found, "often").checkpoint and contrast(found, "once").checkpoint
    assert contrast(found, "once").another_run.p is None, "no noise is borrowed"
    said = whose(found)
    assert "repeated for base and often" in said and "Of once one run is known" in said
    sure = answer(found.categories[0], found).sure
    assert sure.startswith("designs: often; checkpoints: once, p ")


def test_two_runs_are_weak_and_only_there() -> None:
    found = compared({"three": (0.03, 3), "two": (0.03, 2)})
    two, three = contrast(found, "two"), contrast(found, "three")
    assert two.another_run.weak and not three.another_run.weak
    assert "weak: two runs" in verdict(two, 0.01) or not two.starred
    assert "weak" not in verdict(three, 0.01)


def test_a_model_as_it_is_is_no_design() -> None:
    found = compared({"design": (0.03, 3), "untrained": (-0.05, 1)}, as_they_are=["untrained"])
    one = contrast(found, "untrained")
    assert one.another_run.p is not None and not one.checkpoint, "the noise of the baseline's own runs is known"
    assert "a model as it is and 3 runs" in verdict(one, 0.01)
    assert "untrained is no design" in whose(found)
    both = compared({"design": (0.03, 3), "words": (-0.05, 1)}, as_they_are=["base", "words"])
    assert whose(both).startswith("Training was repeated for design:") and "one run is known" not in whose(both)


def test_better_by_less_than_the_margin_is_no_reason_to_choose() -> None:
    found = compared({"bit": (0.004, 1)}, noise=0.001)
    one = contrast(found, "bit")
    assert one.negligible and one.starred and one.equivalent
    of_kind = answer(found.categories[0], found)
    assert (
        of_kind.outcome == TIED and "bit is better than base, by less than 1 point: no reason to choose it." in of_kind.headline
    )
    assert verdict(one, 0.01).count("better") == 1 and "by less than the margin of 1 point: no reason" in verdict(one, 0.01)
    assert "choose bit" not in in_short([of_kind])[0][1]
    pairs = compared({"bit": (0.004, 1), "odd": (0.002, 1)}, baseline=None, noise=0.0005)
    (kind,) = pairs.categories
    open_ones = []
    for one in kind.contrasts:  # as if the third system were noisy
        noisy = replace(one, mark="", other_tasks=replace(one.other_tasks, p_equivalent=1.0))
        open_ones.append(noisy if "odd" in (one.a, one.b) else one)
    headline = answer(replace(kind, contrasts=open_ones), pairs).headline
    assert headline.startswith("No two of 3 systems are separated by more than 1 point")
    assert "bit is better than base, by less than 1 point" in headline
    wider = compared({"bit": (0.004, 1), "odd": (0.0, 1)}, noise=0.012)
    assert answer(wider.categories[0], wider).outcome in (OPEN, TIED)


def test_equivalence_needs_the_same_six_families() -> None:
    generator = np.random.default_rng(3)
    table = Table(("a", "b"), {"a": 1, "b": 1}, [], {"Kind": TASKS[:5]})
    for task in TASKS[:5]:
        table.scores["a", task] = table.scores["b", task] = np.array([generator.uniform()])
        table.files["a", task] = table.files["b", task] = [None]
    found = compare(table, parse_families({"Known": [[task] for task in EVERY]}), Options("b"))
    (one,) = found.categories[0].contrasts
    assert not one.equivalent and one.other_tasks.p_equivalent is None


@pytest.mark.parametrize("mark", [True, False])
def test_the_interval_that_is_shown_agrees_with_the_mark(mark: bool) -> None:
    found = compared({f"s{number}": (0.03 * mark + 0.001 * number, 3) for number in range(4)}, noise=0.02)
    for one in found.categories[0].contrasts:
        assert one.simultaneous is not None
        assert one.starred == (one.simultaneous.low >= 0 or one.simultaneous.high <= 0)


def test_a_baseline_chosen_afterwards_is_corrected_for_all_pairs() -> None:
    systems = {"good": (0.03, 1), "fine": (0.028, 1), "poor": (-0.02, 1)}
    found, every = compared(systems, BEST), compared(systems, None)
    assert found.baseline == "good" and {one.a for one in found.categories[0].contrasts} == {"base", "fine", "poor"}
    assert found.categories[0].tests == 6 == len(every.categories[0].contrasts)
    pairs = {frozenset((one.a, one.b)): one for one in every.categories[0].contrasts}
    for one in found.categories[0].contrasts:
        assert one.other_tasks.p == pytest.approx(pairs[frozenset((one.a, one.b))].other_tasks.p)
    assert "corrected for all 6 pairs" in as_markdown(found)
    assert "the best mean, over kinds, of its means over the 12 tasks that all 4 systems have" in as_markdown(found)


def test_the_best_is_best_over_the_tasks_that_all_have() -> None:
    table = Table(("a", "b"), {"a": 1, "b": 1}, [], {"Kind": ["T0", "T1"]})
    table.scores = {("a", "T0"): np.array([0.9]), ("b", "T0"): np.array([0.5]), ("b", "T1"): np.array([0.6])}
    assert best_system(table) == "a", "b has more tasks, and is worse on the one that both have"
    table.scores["a", "T1"] = np.array([0.1])
    assert best_system(table) == "b"
    table.systems, table.scores = ("a", "b", "c"), {**table.scores, ("c", "T2"): np.array([0.99])}
    table.categories["Kind"].append("T2")
    assert common_tasks(table) == (["a", "b"], {"T0", "T1"}) and best_system(table) == "b", "c shares no task with them"


def test_what_would_be_needed_and_by_how_much_a_star_exaggerates() -> None:
    outlook = Outlook(0.02, 14, 1, 0.03, 0.0, 0.34, 1.38, 31)
    found = compared({"maybe": (0.003, 1)}, noise=0.02)
    kind = replace(found.categories[0], outlook=outlook)
    said = " ".join(dict(answer(kind, found).claims)["On other tasks of this kind"])
    assert "a true difference of 2.00 points gets a star in 34% of simulated studies" in said
    assert "; about 31 unrelated tasks would make that 80%." in said
    assert "A star at this size exaggerates: of such a difference it says 1.4 times the truth on average." in said
    never = replace(kind, outlook=replace(outlook, runs=3, run_sd=0.02, needed=None))
    assert "; with this noise between runs 256 unrelated tasks do not make that 80%." in " ".join(
        answer(never, found).claims[1][1]
    )
    large = replace(kind, outlook=replace(outlook, power=0.0, sd=0.3, needed=None))
    assert "star in under 1% of simulated studies; 256 unrelated tasks do not" in " ".join(answer(large, found).claims[1][1])
    one = contrast(found, "maybe")
    assert "families would show 2 points)" in verdict(one, 0.01, 4) and "would show" not in verdict(one, 0.01)


def test_second_opinions_that_disagree_are_said() -> None:
    found = compared({"good": (0.03, 3), "same": (0.0, 3)}, noise=0.01)
    (kind,) = found.categories
    assert "Second opinions" not in " ".join(answer(kind, found).claims[1][1])
    star = contrast(found, "good")
    assert star.starred and star.second is not None and star.second.p_better > 0.9
    doubtful = replace(star, second=replace(star.second, mixed_p=0.2))
    said = answer(replace(kind, contrasts=[doubtful, contrast(found, "same")]), found).claims[1][1]
    doubted = "Second opinions do not both support what is said of good − base (mixed model p "
    assert any(sentence.startswith(doubted) for sentence in said)
    quiet = contrast(found, "same")
    assert not quiet.starred and quiet.second is not None
    keen = replace(quiet, second=replace(quiet.second, mixed_p=0.001))
    said = answer(replace(kind, contrasts=[star, keen]), found).claims[1][1]
    assert any("would also separate same − base" in one for one in said)


def test_a_star_says_whether_it_rests_on_one_family() -> None:
    table = Table((), {}, [])  # with one run each, no noise between runs is asked for
    found = with_families_left_out(replace(table, runs={"good": 1, "base": 3}), compared({"good": (0.03, 1)}, noise=0.004))
    one = contrast(found, "good")
    assert one.without_one is not None and one.without_one.families == 11
    expected = max(
        step_down_max_t(np.delete(np.array([list(one.differences.values())]), number, axis=1))[0] for number in range(12)
    )
    assert one.without_one.p == pytest.approx(expected)
    said = " ".join(answer(found.categories[0], found).claims[1][1])
    assert "it stands without any one family (p ≤ .001" in said
    weak = replace(one, without_one=WithoutOne(0.07, ["T00"], 11))
    assert "it rests on T00, without which p is .070" in " ".join(
        answer(replace(found.categories[0], contrasts=[weak]), found).claims[1][1]
    )
