"""Names of the hub with a revision, and the commit of a base LLM that an adapter keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from common.errors import UserError
from model_loaders.export.peft_format import base_of
from model_loaders.export.request import Request
from model_loaders.export.table import FORMATS
from model_loaders.hub import at_revision, looks_local, pinned, resolve, split_revision
from model_loaders.layouts.source import Asked, base_named, find_base
from model_loaders.layouts.table import read_source
from model_loaders.loading import plan_loading
from model_loaders.options import LoadOptions
from study.prefetch.fetch import adapter_base
from tests.model_loaders.layouts.write_layouts import write_merged, write_nv_embed
from tests.tiny import new_model

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


@pytest.mark.parametrize("write", [write_nv_embed, write_merged])
def test_a_whole_model_is_of_one_commit(
    write: Callable[[Path, Path], Path], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decoder is found by its name, apart from the files of the layout."""
    folders = {commit: write(tmp_path / commit, base) for commit in COMMITS}
    newest = COMMITS[1]
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *words, **rest: None)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, *, revision=None, **rest: str(folders[revision or newest])
    )
    for asked, commit in (("me/whole", newest), (f"me/whole@{COMMITS[0]}", COMMITS[0])):
        plan = plan_loading(None, None, asked, LoadOptions(device="cpu"))
        assert (plan.source.directory.name, plan.base_directory.name) == (commit, commit)
        assert (plan.base.name_or_path, plan.base.revision, plan.source.system) == ("me/whole", commit, "me/whole")


@pytest.mark.parametrize("format", ["peft", "sentence-transformers"])
def test_lora_alone_keeps_the_commit_of_its_base(
    asked: list[tuple[str, str | None]], base: Path, tmp_path: Path, format: str
) -> None:
    model = new_model("causal_mean", base)
    model.base_model = replace(model.base_model, name_or_path="me/base", revision=COMMITS[0])
    notes: list[str] = []
    request = Request(model, format, lora="unmerged", base_directory=base)
    (tmp_path / "out").mkdir()
    check = FORMATS[format].write(request, tmp_path / "out", notes)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("me/base", COMMITS[0])
    assert check.relinked is not None and json.loads(check.relinked["adapter_config.json"])["revision"] is None
    assert any(COMMITS[0] in note and "takes the newest" in note for note in notes) == (format == "sentence-transformers")
    assert read_source(Asked(tmp_path / "out")).base_model == f"me/base@{COMMITS[0]}" == adapter_base(tmp_path / "out")
    assert base_of(replace(request, base_name="you/base")) == ("you/base", "")
    assert base_of(replace(request, base_name="you/base@v1")) == ("you/base", "v1")
    assert base_named({"base_model_name_or_path": None, "revision": "main"}) == ""
