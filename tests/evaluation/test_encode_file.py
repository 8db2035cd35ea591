"""`python -m evaluation.encode_file`: the texts of a file become vectors in its order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.encode_file import main
from model_loaders import load
from model_loaders.saving import save
from tests.tiny import new_model, write_base

TEXTS = ["word1 word2", "", "word3 word1 word40 word7"]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encode_file")
    save(new_model("model3", write_base(folder / "base")), folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_vectors_are_those_of_the_model(adapter: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / name
    lines = [json.dumps({"id": 1, "body": text}) for text in TEXTS] if name.endswith("jsonl") else TEXTS
    texts.write_text("\n".join(lines) + "\n")
    out = tmp_path / "deep" / "vectors.npy"
    assert main([str(adapter), str(texts), str(out), "--role", "query", "--device", "cpu", "--key", "body"]) == 0
    assert "3 vectors of 32 numbers" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(out), load(adapter, device="cpu").encode(TEXTS, "query"), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', ":2: the row has no key 'text', but 'txt'"),
        ('{"text": 1}\n', ":1: 'text' is no text"),
        ("", "no texts"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, content: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.jsonl").write_text(content)
    assert main(["no-adapter", str(tmp_path / "texts.jsonl"), str(tmp_path / "out.npy")]) == 1
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()
