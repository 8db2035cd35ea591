"""Names of the hub with a revision, and the commit of a base LLM that an adapter keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from common.errors import UserError
from model_loaders.hub import at_revision, looks_local, pinned, resolve, split_revision
from model_loaders.layouts.source import find_base

COMMITS = ("a" * 40, "b" * 40)  # the second one is the newest


@pytest.fixture
def asked(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """A hub with one repository of two commits; the list gets what was asked for."""
    words: list[tuple[str, str | None]] = []

    def snapshot(name: str, *, revision: str | None = None, **rest: Any) -> str:
        words.append((name, revision))
        commit = revision or COMMITS[1]
        if name != "me/base" or commit not in COMMITS:
            raise OSError("no such revision")
        folder = tmp_path / "cache" / commit
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_bytes((base / "config.json").read_bytes())
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *words, **rest: None)
    return words


def test_names(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert split_revision("me/base@v1") == ("me/base", "v1") and split_revision("me/base") == ("me/base", "")
    assert split_revision(tmp_path / "a@b") == (str(tmp_path / "a@b"), "") and split_revision("./x@y") == ("./x@y", "")
    assert at_revision("me/base", "v1") == "me/base@v1" and at_revision("me/base@v2", "v1") == "me/base@v2"
    assert at_revision(str(tmp_path), "v1") == str(tmp_path) and at_revision("me/base", "") == "me/base"
    assert not looks_local("me/base@refs/pr/1") and looks_local("./me/base@v1")


def test_a_revision_is_asked_for(asked: list[tuple[str, str | None]]) -> None:
    assert resolve(f"me/base@{COMMITS[0]}", what="base model").name == COMMITS[0]
    assert asked == [("me/base", COMMITS[0])]
    assert pinned("me/base", what="adapter") == f"me/base@{COMMITS[1]}"
    with pytest.raises(UserError, match="revision"):
        resolve("me/base@nowhere", what="base model")


def test_an_adapter_is_loaded_on_its_commit(asked: list[tuple[str, str | None]], base: Path) -> None:
    assert find_base("me/base", None, COMMITS[0]).name == COMMITS[0]
    assert find_base("me/base", None, "c" * 40).name == COMMITS[1]  # gone: the newest one, whose weights are compared later
    assert asked == [("me/base", COMMITS[0]), ("me/base", "c" * 40), ("me/base", None)]
    assert find_base(base, None, COMMITS[0]) == base
