"""Families from mteb's metadata: what relates two tasks, and that the file in the repository is what the generator gives."""

from __future__ import annotations

import mteb
import pytest

from evaluation.tasks.related import TaskFacts, as_yaml, families, read_above, read_facts, stem
from tests.tiny import ROOT

FILE, ABOVE = ROOT / "comparison" / "families_mteb.yaml", ROOT / "comparison" / "families.yaml"


def fact(name: str, path: str | None = None, *relatives: str) -> TaskFacts:
    return TaskFacts(name, "Retrieval", path or f"data/{name}", relatives)


@pytest.mark.parametrize(
    "name", ["NanoFEVERRetrieval", "FEVER-NL", "FEVERHardNegatives.v2", "FEVER.v3", "FEVER-FaHardNegatives"]
)
def test_stems(name: str) -> None:
    assert stem(name) in ("fever", "feverfa")
    assert stem("STS12") == "sts12" and stem("Multi30kI2TRetrieval") == stem("Multi30kT2IRetrieval") == "multi30k"


def test_what_relates_two_tasks() -> None:
    facts = [fact("Adapted", None, "Source"), fact("Other", "data/one"), fact("Part"), fact("Same", "data/one"), fact("Source")]
    facts += [fact("Whole", None, "Part"), fact("Alone"), fact("SomethingRetrieval.v2"), fact("NanoSomethingRetrieval")]
    facts = sorted(facts, key=lambda of_task: of_task.name)
    of = families(facts, {})
    groups = {first: [task for task in of if of[task] == first] for first in of.values()}
    assert sorted(groups.values()) == [
        ["Adapted", "Source"],
        ["Alone"],
        ["NanoSomethingRetrieval", "SomethingRetrieval.v2"],
        ["Other", "Same"],
        ["Part", "Whole"],
    ]


def test_families_of_the_hand_made_map_are_never_joined() -> None:
    facts = [fact("A"), fact("B"), fact("Between", None, "A", "B"), fact("NanoB", None, "A")]
    of = families(facts, {"A": "A", "B": "B"})
    assert of["A"] == "A" and of["B"] == "B" and of["Between"] == "A"


def test_the_file_is_what_the_generator_gives() -> None:
    text = FILE.read_text(encoding="utf-8")
    version = text.split("metadata of mteb ")[1].split(",")[0]
    if version != mteb.__version__:
        pytest.skip(f"comparison/families_mteb.yaml says that it is of mteb {version}; installed is {mteb.__version__}")
    assert as_yaml(read_facts(), read_above(ABOVE), mteb.__version__) == text
