"""Files written whole, hashes remembered, YAML in which a key stands once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from common.file_hashes import FileHashes, Notes
from common.files import new_folder, read_json, read_json_or_empty, replacing, write_json, write_whole
from common.yaml_files import load_yaml, read_config, read_list


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "früher\n")
    write_whole(path, b"later\n")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert path.read_text() == "later\n"
    assert list(tmp_path.iterdir()) == [path]


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    assert read_json_or_empty(path) == {}
    with pytest.raises(UserError, match=r"has no facts.json; it holds: nothing"):
        read_json(path)
    write_json({"a": "ä"}, path)
    assert read_json(path) == read_json_or_empty(path) == {"a": "ä"}
    path.write_text("[1]")
    for read in (read_json, read_json_or_empty):
        with pytest.raises(UserError, match=r"facts.json holds no JSON object"):
            read(path)


def test_changed_file_is_hashed_anew(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "hashes.json"
    data.mkdir()
    (data / "a").write_text("one")
    hashes = FileHashes(kept)
    first = hashes.hash_of(data)
    hashes.save()
    (data / "a").write_text("two")
    assert FileHashes(kept).hash_of(data) != first
    (data / "a").write_text("one")
    assert FileHashes(kept).hash_of(data) == first
    assert FileHashes(kept).hash_of(Path("owner/name")) == "name:owner/name"


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_damaged_notes_are_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.json"
    path.write_text(content)
    notes = Notes(path)
    assert notes.get("a") is None
    notes.add({"a": "b"})
    assert Notes(path).get("a") == "b"


def test_notes_need_no_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes = Notes(tmp_path / "file" / "notes.json")
    notes.add({"a": "b"})
    assert notes.get("a") == "b"


def test_key_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    for text in ("a: 1\nb: 2\na: 3\n", "chunk-tokens: 1\nb: 2\nchunk_tokens: 2\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"file.yaml:3: .*already"):
            read_config(str(path))
    with pytest.raises(yaml.YAMLError, match="already"):
        load_yaml("x: {a: 1, a: 2}")
    path.write_text("- name: a\n- name: b\n  name: c\n")
    with pytest.raises(UserError, match=r"--dataset_config|file.yaml:3: .*already"):
        read_list(str(path), "--dataset_config")


def test_places_of_yaml(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("# a comment\nseed: 3\nchunk-tokens: 5\n")
    entries = read_config(str(path))
    assert {name: (entry.value, entry.where.rsplit(os.sep, 1)[1]) for name, entry in entries.items()} == {
        "seed": (3, "file.yaml:2"),
        "chunk_tokens": (5, "file.yaml:3"),
    }
    path.write_text("seed: [")
    with pytest.raises(UserError, match=r"file.yaml:\d+: no valid YAML"):
        read_config(str(path))
    with pytest.raises(UserError, match=r"--config .* cannot be read"):
        read_config(str(tmp_path / "none.yaml"))


def test_a_new_folder_that_could_not_take_its_place_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in (tmp_path / "link", Path(), Path(".."), Path("/proc")):
        with pytest.raises(UserError), new_folder(folder):
            pytest.fail("the work began")
    with new_folder(tmp_path / "real") as aside:
        (aside / "file").write_text("x")
    assert (tmp_path / "real" / "file").read_text() == "x"
