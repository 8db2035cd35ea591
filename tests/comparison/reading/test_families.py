"""The maps of families: the generated one below the hand-made one, and tasks that stand in neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.yaml_files import read_yaml
from comparison.compare import Options, compare
from comparison.reading.families import DEFAULT, OF_MTEB, Families, _own, parse_families, read_families, root
from comparison.reading.results_folder import read
from comparison.reading.selection import select
from comparison.reading.table import Table
from comparison.report.tables.markdown import as_markdown
from comparison.report.words.answer import answer
from comparison.report.words.first import first_sentences
from comparison.stats.multiple import step_down_max_t
from tests.comparison.conftest import Write

HAND_MADE = parse_families(read_yaml(DEFAULT, "--families"))


@pytest.mark.parametrize(
    "related",
    [
        ["NanoFEVERRetrieval", "FEVER-NL", "FEVERHardNegatives.v2", "ClimateFEVER", "MultilingualNanoFEVERRetrieval"],
        ["NanoNQRetrieval", "NQ-PL", "NQ-PLHardNegatives", "NQ"],
        ["BrightAopsRetrieval", "BrightPonyRetrieval"],
        ["LEMBNarrativeQARetrieval", "LEMBQMSumRetrieval"],
        ["CQADupstack-NL", "CQADupstackTexRetrieval-Fa", "CQADupstackRetrieval"],
        ["MIRACLJaRetrievalLite", "MIRACLRetrievalHardNegatives"],
        ["BlurbsClusteringP2P", "BlurbsClusteringS2S.v2"],
    ],
    ids=str,
)
def test_what_mteb_states_is_related(related: list[str]) -> None:
    assert read_families().group(related) == [related]
    assert len(HAND_MADE.group(related)) > 1, "the hand-made map alone does not know it"


def test_what_the_hand_made_map_says_does_not_change() -> None:
    families = read_families()
    for category in set(HAND_MADE.category.values()):
        tasks = [task for task, other in HAND_MADE.category.items() if other == category]
        versions = [task for task in families.category if root(task) in HAND_MADE.category and task not in tasks]
        every = [*tasks, *(task for task in versions if HAND_MADE.category_of(task) == category)]
        assert families.group(every) == HAND_MADE.group(every)
        assert all(families.category_of(task) == category for task in tasks)


def test_the_generated_file_names_its_version_and_fits_its_count() -> None:
    head = OF_MTEB.read_text(encoding="utf-8").splitlines()[0]
    families = parse_families(read_yaml(OF_MTEB, "--families"))
    assert f"over all of its {len(families.category):,} tasks" in head and "metadata of mteb 2." in head


STRICT = DEFAULT.with_name("families_strict.yaml")
WIKIPEDIA = ["FEVERHardNegatives", "NanoNQRetrieval", "ClimateFEVERHardNegatives.v2", "HotpotQAHardNegatives", "NQ", "DBPedia"]


def test_a_stricter_map_reaches_versions_and_relatives() -> None:
    """Versions that the generated map names itself stayed where they were, so a stricter map gave more families."""
    assert read_families(STRICT).group(WIKIPEDIA) == [WIKIPEDIA]
    tasks = sorted({*HAND_MADE.category, *_own(OF_MTEB).category})
    assert len(read_families(STRICT).group(tasks)) == len(read_families().group(tasks)) - 3
    mine, strict = read_families(), read_families(STRICT)
    for together in mine.group(tasks):
        assert len(strict.group(together)) == 1, "what was one family is one still"


def test_a_users_file_moves_whole_families(tmp_path: Path) -> None:
    def grouped(content: str, tasks: list[str]) -> list[list[str]]:
        path = tmp_path / "mine.yaml"
        path.write_text(content, encoding="utf-8")
        return read_families(path).group(tasks)

    clustering = ["RedditClustering.v2", "StackExchangeClustering.v2", "RedditClusteringP2P.v2"]
    assert grouped("Clustering: [[RedditClustering, StackExchangeClustering]]", clustering) == [clustering]
    reviews = ["AmazonPolarityClassification.v2", "ImdbClassification.v2", "EmotionClassification"]
    assert grouped("Classification: [[ImdbClassification, EmotionClassification]]", reviews) == [reviews]
    assert grouped("Classification: [ImdbClassification]", reviews) == [[task] for task in reviews], "taken out alone"
    apart = ["FEVERHardNegatives", "ClimateFEVERHardNegatives", "NanoFEVERRetrieval", "NanoClimateFeverRetrieval"]
    assert grouped("Retrieval: [FEVER, ClimateFEVER]", apart) == [[apart[0], apart[2]], [apart[1], apart[3]]]


def test_versions_follow_to_another_category(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("Topics: [RedditClustering]", encoding="utf-8")
    families = read_families(path)
    assert families.category_of("RedditClustering.v2") == "Topics"
    assert families.category_of("RedditClusteringP2P") == "Clustering"


def test_a_copy_of_our_map_changes_nothing() -> None:
    tasks = sorted({*HAND_MADE.category, *_own(OF_MTEB).category})
    assert read_families(DEFAULT).group(tasks) == read_families().group(tasks)
    assert [read_families(DEFAULT).category_of(task) for task in tasks] == [read_families().category_of(task) for task in tasks]


def test_the_worst_grouping_joins_what_is_unknown() -> None:
    families = read_families()
    tasks = ["NQ", "Mine", "Yours.v2", "FEVER"]
    assert families.unknown(tasks) == ["Mine", "Yours.v2"]
    assert families.worst(tasks).group(tasks) == [["NQ"], ["Mine", "Yours.v2"], ["FEVER"]]
    declared = read_families(unrelated=True)
    assert declared.unknown(tasks) == [] and declared.worst(tasks) is declared


LANGUAGES = [f"Mine{language}" for language in ("Ar", "Bn", "De", "Es", "Fi", "Fr", "Hi", "Id")]


def table_of(write: Write, known: list[str]) -> Table:
    """Two systems, of which the second is better everywhere."""
    generator = np.random.default_rng(3)
    scores = {task: round(generator.uniform(0.4, 0.6), 4) for task in [*LANGUAGES, *known]}
    better = {task: round(score + 0.02 + 0.001 * number, 4) for number, (task, score) in enumerate(scores.items())}
    return select(read([write({"o/a": scores, "o/b": better})]), read_families())


def test_no_star_where_relations_are_unknown(write: Write) -> None:
    """Eight language versions of one set that is in no map were eight families, and "**"."""
    table = table_of(write, [])
    comparison = compare(table, read_families(), Options("a"))
    (contrast,) = comparison.categories[0].contrasts
    assert contrast.mark == "" and not contrast.equivalent and not contrast.other_tasks.decidable
    assert contrast.other_tasks.unknown == LANGUAGES and contrast.other_tasks.worst.families == 1
    text = as_markdown(comparison)
    assert "the relations of 8 tasks to others are unknown (MineAr, MineBn, MineDe and 5 more)" in text
    assert "Were they one family, 1 family would be left, too few to decide" in text
    assert "better than" not in text and "--unrelated" in text


def test_the_user_may_declare_them(write: Write) -> None:
    families = read_families(unrelated=True)
    table = select(read([write_root(write)]), families)
    (contrast,) = compare(table, families, Options("a")).categories[0].contrasts
    assert contrast.mark == "**" and contrast.other_tasks.worst is None
    assert any("declared to be related to no other task (--unrelated): MineAr" in note for note in table.notes)


def write_root(write: Write) -> Path:
    scores = {task: 0.4 + 0.01 * number for number, task in enumerate(LANGUAGES)}
    return write({"o/a": scores, "o/b": {task: score + 0.02 for task, score in scores.items()}})


def test_the_worst_grouping_stands_beside(write: Write) -> None:
    """Seven known tasks and eight unknown ones: the answer with eight families stands beside, and decides nothing."""
    known = ["ArguAna", "FiQA2018", "HotpotQA", "NFCorpus", "NQ", "SCIDOCS", "SciFact"]
    table = table_of(write, known)
    (contrast,) = compare(table, read_families(), Options("a")).categories[0].contrasts
    units = [np.mean([contrast.differences[task] for task in LANGUAGES]), *(contrast.differences[task] for task in known)]
    assert contrast.other_tasks.worst.families == 8 and contrast.mark == ""
    assert contrast.other_tasks.worst.mean == pytest.approx(np.mean(units), abs=1e-12)
    assert contrast.other_tasks.worst.p == step_down_max_t(np.array([units]))[0] == 2**-7


def test_a_comparison_of_known_tasks_keeps_its_star(write: Write) -> None:
    known = ["ArguAna", "FiQA2018", "HotpotQA", "NFCorpus", "NQ", "SCIDOCS", "SciFact"]
    scores = {task: 0.4 + 0.01 * number for number, task in enumerate(known)}
    models = {"o/a": scores | {"Mine": 0.5}, "o/b": {task: score + 0.02 for task, score in scores.items()}}
    models["o/c"] = models["o/b"] | {"Mine": 0.6}
    contrasts = compare(select(read([write(models)]), read_families()), read_families(), Options("a")).categories[0].contrasts
    assert [contrast.other_tasks.unknown for contrast in contrasts] == [[], ["Mine"]]
    assert contrasts[0].mark == "**" and contrasts[1].mark == ""


def test_unknown_tasks_stand_in_no_mean_over_all_kinds(write: Write) -> None:
    scores = {"ArguAna": 0.4, "NQ": 0.5, "STS12": 0.6, "SICK-R": 0.7}
    better = {task: score + 0.02 for task, score in scores.items()}
    root_folder = write({"o/a": scores, "o/b": better})
    write({"o/a": {"Odd1": 0.1, "Odd2": 0.3}, "o/b": {"Odd1": 0.5, "Odd2": 0.9}}, metric="accuracy")
    table = select(read([root_folder]), read_families())
    (overall,) = compare(table, read_families(), Options("a")).overall
    assert list(overall.categories) == ["STS", "Retrieval"] and "Classification" in table.categories
    assert overall.unknown == ("Classification",) and overall.left_out == ()
    text = as_markdown(compare(table, read_families(), Options("a")))
    assert "Left out, since the relations of some of its tasks to others are unknown: Classification." in text
    found = compare(table, read_families(), Options("a"))
    said = " ".join(first_sentences(found, [answer(category, found) for category in found.categories]))
    assert "ver 2 of 3 kinds of task (without Classification)" in said and "all kinds" not in said
    declared = Families(read_families().category, read_families().family, unrelated=True)
    assert "Classification" in compare(table, declared, Options("a")).overall[0].categories
