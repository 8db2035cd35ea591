"""The search that one can look at: exact, on the terminal and in the page, for one adapter and for two."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from evaluation.search.__main__ import main
from evaluation.search.answers import Answer
from evaluation.search.index import Document, Hit, Index, build, read_corpus
from evaluation.search.page import Server, column
from model_loaders.saving import save
from tests.tiny import WORDS, new_model

ROWS = [{"id": f"d{n}", "title": "<b>t</b>" if n == 3 else "", "text": " ".join(WORDS[n : n + 4])} for n in range(20)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path / "corpus.jsonl"


@pytest.fixture
def adapters(base: Path, tmp_path: Path) -> tuple[str, str]:
    for design in ("causal_mean", "bidirectional_mean"):
        save(new_model(design, base), tmp_path / design)
    return str(tmp_path / "causal_mean"), str(tmp_path / "bidirectional_mean")


def test_the_search_is_exact(base: Path, corpus: Path, tmp_path: Path) -> None:
    model, documents = new_model("causal_mean", base), read_corpus(corpus)
    index = build(model, "name", documents, tmp_path / "index", bar=False)
    scores = model.encode([document.whole for document in documents]) @ model.encode(["word3 word4"], "query")[0]
    hits = index.find("word3 word4", 5)
    assert [hit.document for hit in hits] == np.argsort(-scores, kind="stable")[:5].tolist()
    assert np.allclose([hit.score for hit in hits], np.sort(scores)[::-1][:5], atol=1e-6)
    model.encode = None  # type: ignore[assignment]
    build(model, "name", documents, tmp_path / "index", bar=False)  # the vectors are there
    with pytest.raises(TypeError):
        build(model, "name", documents[:-1], tmp_path / "index", bar=False)


@pytest.mark.parametrize("file", ["config.json", "pytorch_model.bin"])
def test_vectors_of_a_base_that_changed_are_not_searched(base: Path, corpus: Path, tmp_path: Path, file: str) -> None:
    """The version does not know a folder's config, nor weights that are no safetensors."""
    shutil.copytree(base, tmp_path / "base")
    if file.endswith(".bin"):
        torch.save(load_file(tmp_path / "base" / "model.safetensors"), tmp_path / "base" / file)
        (tmp_path / "base" / "model.safetensors").unlink()
    model, documents = new_model("causal_mean", tmp_path / "base"), read_corpus(corpus)
    build(model, "name", documents, tmp_path / "index", bar=False)
    model.encode = None  # type: ignore[assignment]
    build(model, "name", documents, tmp_path / "index", bar=False)  # the vectors are there
    with (tmp_path / "base" / file).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(TypeError):
        build(model, "name", documents, tmp_path / "index", bar=False)


@pytest.mark.parametrize("damage", ["cut", "other shape", "not finite"])
def test_damaged_vectors_are_made_again(base: Path, corpus: Path, tmp_path: Path, damage: str) -> None:
    model, documents = new_model("causal_mean", base), read_corpus(corpus)
    expected = build(model, "name", documents, tmp_path / "index", bar=False).find("word3", 20)
    (file,) = (tmp_path / "index").glob("*.npy")
    vectors = np.load(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:90])
    else:
        np.save(file, vectors[:-1] if damage == "other shape" else vectors * np.float32("nan"))
    assert build(model, "name", documents, tmp_path / "index", bar=False).find("word3", 20) == expected
    assert np.array_equal(np.load(file), vectors)


def test_the_terminal(
    adapters: tuple[str, str], corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("word3 word4\n\nnever asked\n"))
    flags = ["--corpus", str(corpus), "--top", "3", "--device", "cpu"]
    assert main([adapters[0], *flags, "--against", adapters[1]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("of 3 documents are found by both")
    names = [line for line in lines if line.endswith(":")]
    assert names == ["causal_mean:", "bidirectional_mean:"]
    assert sum("place" in line or "only here" in line for line in lines) == 6


def test_a_terminal_that_does_not_write_utf8(
    adapters: tuple[str, str], corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"word3 caf\xe9\n"), encoding="utf-8"))
    assert main([adapters[0], "--corpus", str(corpus), "--top", "3", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("causal_mean:")


@pytest.fixture
def server(base: Path) -> Iterator[Server]:
    documents = [Document(row["id"], row["title"], row["text"]) for row in ROWS]
    indexes = []
    for design in ("causal_mean", "bidirectional_mean"):
        model = new_model(design, base)
        indexes.append(Index(model, design, documents, model.encode([document.whole for document in documents])))
    with Server(0, indexes, 4) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def get(server: Server, path: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.headers)


def test_the_page(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, page, headers = get(server, "/")
    assert status == 200 and "Search in 20 documents" in page and "default-src 'none'" in headers["Content-Security-Policy"]
    _, page, _ = get(server, "/?q=word3+word4")
    assert page.count("<li") == 8 and "documents are found by both" in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_the_page_takes_nothing_literally(server: Server) -> None:
    _, page, _ = get(server, "/?q=%3Cscript%3Ealert(1)%3C/script%3E%22%3E+word3+word4+word5+word6")
    assert "<script" not in page and "&lt;script&gt;" in page and "<b>t</b>" not in page
    assert get(server, "/?q=word1", host="evil.example")[0] == 403
    assert get(server, "/etc/passwd")[0] == 404
    assert get(server, "/?q=" + "a" * 20_001)[0] == 400
    assert get(server, "/?q=%00%ff")[0] == 200


def test_documents_cannot_turn_the_page() -> None:
    documents = [Document("<i>", "", "\u202eabc \x1b[31m<img src=x>")]
    text = column(Answer("name", [Hit(0, 0.5)]), None, documents)
    assert "&lt;i&gt;" in text and "abc \ufffd[31m&lt;img src=x&gt;" in text and "\u202e" not in text


def test_what_cannot_be_searched(adapters: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a"}\n{"body": "b"}\n')
    assert main([adapters[0], "--corpus", str(bad)]) == 1
    assert f"{bad}:2" in capsys.readouterr().err
    half = tmp_path / "half.jsonl"
    half.write_text('{"id": null, "text": "a"}\n')
    assert read_corpus(half)[0].id == "0"
    half.write_text('{"text": "\\ud800"}\n')
    with pytest.raises(UserError, match="half a character"):
        read_corpus(half)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match="no documents"):
        read_corpus(tmp_path / "empty.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_corpus(tmp_path / "none.txt")
    with pytest.raises(SystemExit):
        main([adapters[0], "--corpus", str(bad), "--top", "0"])


def test_a_port_that_is_taken(
    adapters: tuple[str, str], corpus: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--corpus", str(corpus), "--device", "cpu", "--page", "--port", str(server.server_port)]
    assert main([adapters[0], *flags]) == 1
    assert "--port" in capsys.readouterr().err
