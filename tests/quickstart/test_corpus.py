"""Building: determinism, cache, atomicity, file schemas, and that train and test are apart."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from quickstart import corpus as corpus_module
from quickstart.corpus import Corpus, build_corpus
from quickstart.docstrings.deduplicate import deduplicate
from quickstart.docstrings.sources import STANDARD_LIBRARY, list_modules, package_root, read_module
from quickstart.docstrings.split import LeakageError
from tests.quickstart.conftest import PACKAGE, write_tree

COLUMNS = {
    "DocstringRetrieval": {
        "corpus": {"id", "title", "text"},
        "queries": {"id", "text"},
        "qrels.test": {"query-id", "corpus-id", "score"},
    },
    "DocstringSeeAlsoReranking": {"test": {"query", "positive", "negative"}},
    "DocstringSeeAlsoPairs": {"test": {"sentence1", "sentence2", "label"}},
    "DocstringSubpackageClassification": {"train": {"text", "label"}, "test": {"text", "label"}},
    "DocstringSubpackageClustering": {"test": {"sentence", "label"}},
}


def rows(file: Path) -> list[dict[str, object]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def built(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return build_corpus(tmp_path_factory.mktemp("built") / "corpus", roots=roots, workers=1)


def test_equal_input_gives_equal_output_whatever_the_workers(built: Corpus, roots: dict[str, Path], tmp_path: Path) -> None:
    again = build_corpus(tmp_path / "corpus", roots=roots, workers=2)
    assert again.info["content_hash"] == built.info["content_hash"]
    assert again.train_file.read_bytes() == built.train_file.read_bytes()
    for file in built.eval_dir.rglob("*.gz"):
        assert (again.eval_dir / file.relative_to(built.eval_dir)).read_bytes() == file.read_bytes()


def test_files_have_the_columns_of_their_task_type(built: Corpus) -> None:
    assert {folder.name for folder in built.eval_dir.iterdir()} == set(COLUMNS)
    for name, files in COLUMNS.items():
        for stem, columns in files.items():
            found = rows(built.eval_dir / name / f"{stem}.jsonl.gz")
            assert found and all(set(row) == columns for row in found), (name, stem)
            assert built.info["tasks"][name][stem] == len(found)
        task = json.loads((built.eval_dir / name / "task.json").read_text())
        assert task["name"] == name and set(task) == {"name", "type", "main_score", "description"}


def test_triplets_have_a_negative_of_the_same_module_and_no_name(built: Corpus) -> None:
    triplets = [json.loads(line) for line in built.train_file.read_text().splitlines()]
    assert len(triplets) == built.info["triplets"] > 200
    for row in triplets:
        assert set(row) == {"query", "positive", "negative"} and row["positive"] != row["negative"]
        assert "make_thing" not in row["query"] and "_ here" in row["query"]


def test_every_retrieval_query_has_its_own_document(built: Corpus) -> None:
    folder = built.eval_dir / "DocstringRetrieval"
    documents = {row["id"] for row in rows(folder / "corpus.jsonl.gz")}
    queries = {row["id"] for row in rows(folder / "queries.jsonl.gz")}
    qrels = rows(folder / "qrels.test.jsonl.gz")
    assert {row["corpus-id"] for row in qrels} == documents and {row["query-id"] for row in qrels} == queries


def test_pair_negatives_come_from_the_module_of_the_positive(built: Corpus) -> None:
    found = rows(built.eval_dir / "DocstringSeeAlsoPairs" / "test.jsonl.gz")
    for positive, negative in zip(found[::2], found[1::2], strict=True):
        assert (positive["label"], negative["label"]) == (1, 0)
        assert positive["sentence1"] == negative["sentence1"] and positive["sentence2"] != negative["sentence2"]


def test_train_holds_no_text_of_the_tasks(built: Corpus) -> None:
    train = built.train_file.read_text()
    for folder in (built.eval_dir / "DocstringRetrieval", built.dev_dir / "DocstringDevRetrieval"):
        for row in rows(folder / "corpus.jsonl.gz"):
            assert json.dumps(row["text"]) not in train


def test_a_copied_package_whose_copy_is_in_train_is_refused(
    monkeypatch: pytest.MonkeyPatch, roots: dict[str, Path], tmp_path: Path
) -> None:
    def keep_all(docs: list[object]) -> tuple[list[object], object]:
        return list(docs), deduplicate([])[1]

    copy = tmp_path / "tree"
    write_tree(copy)
    (copy / PACKAGE).rename(copy / "copied")
    both = {**roots, "copied": copy}
    build_corpus(tmp_path / "apart", roots=both, workers=1)  # the copies are removed before splitting
    monkeypatch.setattr(corpus_module, "deduplicate", keep_all)
    with pytest.raises(LeakageError, match="stand in train"):
        build_corpus(tmp_path / "mixed", roots=both, workers=1)
    assert not (tmp_path / "mixed").exists() and not list(tmp_path.glob(".mixed*"))


def test_a_second_call_reads_nothing(monkeypatch: pytest.MonkeyPatch, roots: dict[str, Path], tmp_path: Path) -> None:
    first = build_corpus(tmp_path / "corpus", roots=roots, workers=1)

    def fail(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(corpus_module, "_build", fail)
    assert build_corpus(tmp_path / "corpus", roots=roots, workers=1) == first
    with pytest.raises(AssertionError, match="built again"):
        build_corpus(tmp_path / "corpus", roots=roots, workers=1, pool=20)


def test_a_build_that_dies_leaves_the_old_corpus(
    monkeypatch: pytest.MonkeyPatch, roots: dict[str, Path], tmp_path: Path
) -> None:
    first = build_corpus(tmp_path / "corpus", roots=roots, workers=1)
    monkeypatch.setattr(corpus_module, "make_tasks", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_corpus(tmp_path / "corpus", roots=roots, workers=1, seed=1)
    assert json.loads((tmp_path / "corpus" / "corpus.json").read_text()) == first.info
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_folder_with_other_files_is_not_overwritten(roots: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not overwritten"):
        build_corpus(tmp_path, roots=roots, workers=1)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_too_little_text_is_an_error(roots: dict[str, Path], tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(roots[PACKAGE] / PACKAGE / "part0", small / PACKAGE / "part0")
    for file in sorted((small / PACKAGE / "part0").iterdir())[5:]:
        file.unlink()
    with pytest.raises(ValueError, match="at least 10"):
        build_corpus(tmp_path / "corpus", roots={PACKAGE: small}, workers=1)


def test_the_standard_library_is_read_without_tests() -> None:
    root = package_root(STANDARD_LIBRARY)
    assert root is not None
    modules = list_modules(STANDARD_LIBRARY, root)
    names = {file.relative_to(root).as_posix() for file in modules}
    assert "textwrap.py" in names and not any("/test/" in f"/{name}" or "site-packages" in name for name in names)
    docs = {doc.qualname: doc.text for doc in read_module(STANDARD_LIBRARY, root, root / "textwrap.py")}
    assert docs["dedent"].startswith("Remove any common leading whitespace")
