from __future__ import annotations

import re

import pytest

from common.errors import UserError
from evaluation.cli import main
from evaluation.tasks.listing import listing
from tests.evaluation.conftest import write


def test_all_there_is(data_dir, capsys):
    write(data_dir / "Odd/test.jsonl", [{"left": "a"}])
    assert main("", loader=None, paper_tasks=(), arguments=["--list", "--data_dir", str(data_dir)]) == 0  # no adapter needed
    text = capsys.readouterr().out
    assert "STS17               STS                 cosine_spearman" in text and "as mteb's" in text
    assert "TinyClassification  Classification      accuracy" in text and "Odd" in text
    assert "paper/Retrieval          14  ArguAna" in text and "MTEB(eng, v2);" in text
    assert "MIEB(eng)" in text and "MIEB(Img)" not in text and "ViDoRe(v1)" not in text
    assert re.search(r"\n\(1\d benchmarks without a task of texts are left out\)\n", text)  # more with each mteb
    assert "BIOSSES-VN" not in text and "tasks of texts: --list PATTERN" in text
    assert max(map(len, text.splitlines())) <= 100


def test_pattern_shows_mtebs_tasks(data_dir):
    text = listing("sts1", data_dir)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line}
    assert rows["STS12"] == "STS cosine_spearman on the hub" and rows["STS17"] == "STS cosine_spearman a folder"
    assert "TinySTS" not in text and "SciFact" not in text and "Benchmarks" not in text
    assert "SciFact-NL" in listing("scifact*") and "SciFact-NL" not in listing("s?ifact")
    assert "Banking77Classification" in listing("classification") and "CIFAR" not in listing("c*")
    assert "STS12" not in listing("s*", types=["Retrieval"])
    with pytest.raises(UserError, match="nothing fits 'xyzzy': --list"):
        listing("xyzzy")


def test_benchmarks_with_tasks_to_score():
    text = listing("v*", types=["Retrieval"])
    assert "VN-MTEB" in text and "benchmarks without a task of texts of type Retrieval are left out" in text
    assert "MINERSBitextMining" in listing("miners*")
    with pytest.raises(UserError, match="nothing fits"):
        listing("miners*", types=["Retrieval"])
    assert "left out" not in listing("mteb(eng*")
    with pytest.raises(UserError, match=r"nothing fits 'maeb' .2 benchmarks without a task of texts are left out.: --list"):
        listing("maeb")
