"""Models of a leaderboard by name, from a folder that looks like mteb's cache of results."""

from __future__ import annotations

from pathlib import Path

import mteb
import pytest

from comparison.__main__ import main
from comparison.importing.mteb_cache import default_cache, folders_of_models
from tests.comparison.conftest import Write, write_result

TASKS = {"NFCorpus": 0.5, "SciFact": 0.6}


@pytest.fixture
def cache(write: Write) -> Path:
    write({"a/big": TASKS, "b/big": TASKS, "c/small": {"NFCorpus": 0.4}}, root="cache/remote/results")
    root = write({"a/big": {"NFCorpus": 0.9}, "me/mine": {"NFCorpus": 0.7}}, root="cache/results")
    return root.parent


def test_published_results_come_first_and_the_others_are_named(cache: Path) -> None:
    notes: list[str] = []
    folders = folders_of_models(["a/big", "small", "me/mine", "a/big"], cache, notes)
    assert folders == [cache / "remote/results/a__big", cache / "remote/results/c__small", cache / "results/me__mine"]
    assert notes == [
        f"a/big: its published results are compared; for those of own runs give their folder, {cache / 'results/a__big'}"
    ]


def test_the_command_compares_models_in_the_order_of_their_names(cache: Path, tmp_path: Path) -> None:
    write_result(cache / "remote/results/a__big/rev/experiments/dim_64", "NFCorpus", 0.1)
    (cache / "remote/results/a__big/rev/model_meta.json").write_text('{"name": "a/big", "revision": "rev"}')
    words = [
        "--models",
        "c/small",
        "a/big",
        "--cache",
        str(cache),
        "--benchmark",
        "BEIR",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "big - small" in text
    assert "experiments: left out" in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"--models c/small a/big --cache {cache}" in page


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["big"], "a/big and b/big have this name"),
        (["a/bigg"], "did you mean 'a/big'"),
    ],
)
def test_a_name_that_is_not_one_model(names: list[str], message: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", *names, "--cache", str(cache), "--output_dir", str(cache / "out")]) == 1
    assert message in capsys.readouterr().err


def test_without_results_the_message_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", "a/big", "--cache", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "has no results" in message and "download_from_remote" in message and "--cache DIR" in message
    with pytest.raises(SystemExit):
        main(["--output_dir", str(tmp_path / "out")])


@pytest.mark.parametrize("named", [True, False])
def test_the_cache_is_where_mteb_has_it(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MTEB_CACHE", raising=False)
    if named:
        monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "own"))
    cache = mteb.ResultCache()
    assert default_cache() == cache.cache_path
    assert cache.remote_results_path == default_cache() / "remote" / "results"
