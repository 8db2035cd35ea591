"""Mining: the search is exact, the rules do what they say, a killed run continues, and the command writes what it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from tests.tiny import new_model, write_base
from triplets.mine import main
from triplets.mining import search, search_all
from triplets.mining.pool import make_pool
from triplets.mining.rules import ABOVE_MARGIN, OWN_TEXT, POSITIVE, MiningRules
from triplets.mining.run import MiningOptions, mine, texts_of
from triplets.mining.search import best_matches
from triplets.mining.search_all import mine_queries
from triplets.mining.search_index import IndexTeacher
from triplets.mining.teachers import VectorTeacher
from triplets.mining.vectors import stored_vectors
from triplets.triplet import Triplet


def unit(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_search_is_exact_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(search, "SCORE_BYTES", 4 * 3 * 7)  # seven texts a block
    queries, corpus = unit(8), unit(50, seed=1)
    matches = best_matches(queries, corpus, 5)
    expected = np.argsort(-(queries @ corpus.T), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(matches.places, expected)
    np.testing.assert_allclose(matches.scores, np.take_along_axis(queries @ corpus.T, expected, 1), atol=1e-6)
    assert best_matches(queries, corpus, 99).places.shape == (8, 50)


def pool_and_teacher() -> tuple:
    triplets = [Triplet("q0", "a", ["b", "c"]), Triplet("Q0 ", "d", []), Triplet("q1", "e", [])]
    pool = make_pool(triplets, ["A ", "f", "g", "h", "Q1"])
    return pool, VectorTeacher(unit(len(pool.queries)), unit(len(pool.corpus), seed=1))


@pytest.mark.parametrize("order", ["random", "better", "worse", "equal"])
def test_blocks_give_what_the_whole_gives(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a block has many scores above the worst match so far, few, or none."""
    rng = np.random.default_rng(3)
    queries, corpus = rng.standard_normal((3, 4), dtype=np.float32), rng.standard_normal((400, 4), dtype=np.float32)
    if order != "random":
        corpus[:] = queries.sum(axis=0) / 10
        corpus *= {"better": np.arange(1, 401), "worse": np.arange(400, 0, -1), "equal": np.ones(400)}[order][:, None]
    monkeypatch.setattr(search, "SCORE_BYTES", 4 * 3 * 20)
    matches = best_matches(queries, corpus, 7)
    scores = queries @ corpus.T
    expected = np.sort(scores, axis=1)[:, ::-1][:, :7]
    np.testing.assert_allclose(matches.scores, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, matches.places, 1), expected, rtol=1e-5, atol=1e-6)
    assert all(len(set(row)) == 7 for row in matches.places.tolist())


def test_positives_of_equal_queries_are_shared() -> None:
    pool, teacher = pool_and_teacher()
    assert pool.queries == ["q0", "Q0 ", "q1"] and pool.corpus == ["a", "b", "c", "d", "e", "A ", "f", "g", "h", "Q1"]
    assert pool.excluded[0] == pool.excluded[1] == {0: POSITIVE, 3: POSITIVE, 5: POSITIVE}
    assert pool.excluded[2] == {4: POSITIVE, 9: OWN_TEXT}
    results = list(mine_queries(pool, teacher, MiningRules(negatives=5)))
    for number, result in enumerate(results):
        assert len(result.negatives) == 5 and not set(result.negatives) & set(pool.excluded[number])


def test_queries_that_need_more_are_searched_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    original = VectorTeacher.matches

    def counted(self: VectorTeacher, numbers: list[int], count: int) -> search.Matches:
        counts.append((len(numbers), count))
        return original(self, numbers, count)

    monkeypatch.setattr(VectorTeacher, "matches", counted)
    corpus = unit(400, seed=1)
    pool = make_pool([Triplet(f"q{row}", f"t{row}", []) for row in range(400)])
    teacher = VectorTeacher(corpus.copy(), corpus)  # each positive scores 1
    rules = MiningRules(negatives=3, absolute_margin=0.9)  # far below the positive: deep in the list
    results = list(mine_queries(pool, teacher, rules))
    scores = corpus @ corpus.T
    for row, result in enumerate(results):
        order = [place for place in np.argsort(-scores[row], kind="stable") if scores[row, place] <= scores[row, row] - 0.9]
        assert result.negatives == order[:3]
    assert len(counts) > 1 and counts[1][1] == 4 * counts[0][1] and counts[-1][1] <= 400
    assert results[0].rejected[ABOVE_MARGIN] > 0


def test_a_random_draw_depends_on_seed_and_query_alone() -> None:
    pool, teacher = pool_and_teacher()
    rules = MiningRules(negatives=2, last_rank=8, sampling="random")
    first, second = (list(mine_queries(pool, teacher, rules)) for _ in range(2))
    assert first == second
    other = list(mine_queries(pool, teacher, MiningRules(negatives=2, last_rank=8, sampling="random", seed=1)))
    assert [result.negatives for result in first] != [result.negatives for result in other]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"negatives": 0}, "--negatives"),
        ({"first_rank": -1}, "--first_rank"),
        ({"first_rank": 5, "last_rank": 8}, "--last_rank"),
        ({"sampling": "random"}, "--last_rank"),
        ({"absolute_margin": float("nan")}, "--absolute_margin"),
        ({"min_score": 0.5, "max_score": 0.4}, "--min_score"),
        ({"consistency_rank": -1}, "--consistency_rank"),
        ({"max_score": float("nan")}, "--max_score"),
    ],
)
def test_rules_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        MiningRules(**options)


@pytest.mark.parametrize(
    ("options", "depth", "words"),
    [
        ({"consistency_rank": 50}, 20, "--depth 20 never reaches the text of --consistency_rank 50"),
        ({"first_rank": 30}, 30, "--depth 30 ends before the window"),
        ({}, 0, "--depth 0"),
    ],
)
def test_a_depth_that_ends_before_a_rank(options: dict, depth: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        MiningRules(**options).check_depth(depth)
    MiningRules(**options).check_depth(depth + 60)


def test_finished_blocks_are_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_all, "BLOCK", 2)
    pool, teacher = pool_and_teacher()
    whole = list(mine_queries(pool, teacher, MiningRules(negatives=3)))
    stream = mine_queries(pool, teacher, MiningRules(negatives=3), folder=tmp_path)
    next(stream)  # the first block is on disk; then the process dies
    numbers = []
    monkeypatch.setattr(
        teacher, "matches", lambda rows, count: numbers.extend(rows) or VectorTeacher.matches(teacher, rows, count)
    )
    assert list(mine_queries(pool, teacher, MiningRules(negatives=3), folder=tmp_path)) == whole
    assert set(numbers) == {2}


def test_a_killed_encoding_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplets.mining.vectors.PIECE", 2)
    model = new_model("model1", write_base(tmp_path / "base"))
    texts = [f"word{number} word1" for number in range(5)]
    calls = []
    original = model.encode

    def dying(piece: list[str], **options: object) -> np.ndarray:
        calls.append(list(piece))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(piece, **options)

    monkeypatch.setattr(model, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        stored_vectors(model, texts, "document", tmp_path / "texts.npy")
    vectors = stored_vectors(model, texts, "document", tmp_path / "texts.npy")
    assert calls == [texts[:2], texts[2:4], texts[2:4], texts[4:]]
    np.testing.assert_allclose(vectors, original(texts), atol=1e-6)


def write_triplets(path: Path) -> Path:
    rows = [{"query": f"word{row}", "positive": f"word{row} word{row + 1}", "negative": f"word{row + 20}"} for row in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_with_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from model_loaders.saving import save

    save(new_model("model1", write_base(tmp_path / "base")), tmp_path / "adapter")
    data = write_triplets(tmp_path / "triplets.jsonl")
    test_set = tmp_path / "test.jsonl"
    test_set.write_text(json.dumps({"text": "WORD21"}) + "\n")
    out = tmp_path / "mined.jsonl"
    words = [str(data), str(out), "--teacher", str(tmp_path / "adapter"), "--negatives", "4", "--leave_out", str(test_set)]
    assert main([*words, "--cache_dir", str(tmp_path / "cache")]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 12 and all(len(row["negative"]) == 4 for row in rows)
    for row in rows:
        assert row["positive"] not in row["negative"] and row["query"] not in row["negative"]
        assert "word21" not in row["negative"]
    assert not (tmp_path / "mined.jsonl.mining").exists()
    report = json.loads((tmp_path / "mined.jsonl.report.json").read_text())
    assert report["queries"] == 12 and report["by_number"] == {"4": 12}
    assert "12 rows written" in capsys.readouterr().out


def test_the_command_with_words(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    data = write_triplets(tmp_path / "triplets.jsonl")
    out = tmp_path / "mined.jsonl"
    assert main([str(data), str(out), "--teacher", "bm25", "--negatives", "1", "--cache_dir", str(tmp_path / "cache")]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[1]["negative"] == ["word0 word1"]  # the only other text with the word of the query


def test_words_find_no_text_without_one_of_the_query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their order is that of the corpus. Below a positive without a common word there are no others; a draw may take them."""
    pytest.importorskip("bm25s")
    rows = [("red car", "a car"), ("blue sky", "weather"), ("green tree", "a tree"), ("old tree", "oak")]
    data = tmp_path / "triplets.jsonl"
    data.write_text("".join(json.dumps({"query": query, "positive": positive}) + "\n" for query, positive in rows))
    words = ["--teacher", "bm25", "--negatives", "2", "--cache_dir", str(tmp_path / "cache")]

    def mined(*more: str) -> list[list[str]]:
        assert main([str(data), str(tmp_path / "mined.jsonl"), *words, *more]) == 0
        return [json.loads(line)["negative"] for line in (tmp_path / "mined.jsonl").read_text().splitlines()]

    assert mined() == [[], [], [], ["a tree"]]
    out = capsys.readouterr().out
    assert "without a word of the query" in out and "share no word with a positive, so that a margin leaves them none: 2" in out
    assert mined("--relative_margin", "0.05") == [[], [], [], []]
    drawn = mined("--sampling", "random", "--last_rank", "4")
    assert [len(negatives) for negatives in drawn] == [2, 2, 2, 2]
    apart = 8 - drawn[3].count("a tree")  # the one text with a word of a query that is not its positive
    assert f"negatives drawn that share no word with their query: {apart}" in capsys.readouterr().out


def test_errors_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "mined.jsonl")
    assert main([str(tmp_path / "nothing.jsonl"), out, "--teacher", "bm25"]) == 1
    assert "nothing.jsonl" in capsys.readouterr().err
    assert main(["x.jsonl", out, "--teacher", "bm25", "--first_rank", "-1"]) == 2
    assert main(["x.jsonl", out, "--teacher", "bm25", "--depth", "9", "--consistency_rank", "9"]) == 2
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"title": "no text"}\n')
    data = write_triplets(tmp_path / "triplets.jsonl")
    cache = ["--cache_dir", str(tmp_path / "cache")]
    assert main([str(data), out, "--teacher", "bm25", "--corpus", str(corpus), *cache]) == 1
    assert "corpus.jsonl:1" in capsys.readouterr().err
    assert not (tmp_path / "mined.jsonl").exists()
    before = data.read_bytes()
    assert main([str(data), str(data), "--teacher", "bm25", *cache]) == 1
    assert "would be overwritten" in capsys.readouterr().err and data.read_bytes() == before


def clustered(rows: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors around a hundred centres, as texts of a hundred topics have."""
    centres = unit(100, dim, seed=9)
    generator = np.random.default_rng(seed)
    vectors = centres[generator.integers(100, size=rows)] + 0.15 * generator.normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_an_index_finds_nearly_all_and_scores_exactly(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    queries, corpus = clustered(100, 32, seed=1), clustered(8000, 32, seed=2)
    teacher = IndexTeacher(queries, corpus, tmp_path / "index")
    matches, exact = teacher.matches(range(100), 20), best_matches(queries, corpus, 20)
    hits = [len(set(ours) & set(all_of)) for ours, all_of in zip(matches.places, exact.places, strict=True)]
    assert sum(hits) >= 0.95 * 20 * 100
    np.testing.assert_allclose(matches.scores, np.take_along_axis(queries @ corpus.T, matches.places, 1), atol=1e-6)
    assert (np.diff(matches.scores, axis=1) <= 0).all()
    again = IndexTeacher(queries, corpus, tmp_path / "index").matches(range(100), 20)  # read from the file
    np.testing.assert_array_equal(again.places, matches.places)
    whole = teacher.matches([3], 8000)  # too many: searched exactly
    np.testing.assert_array_equal(whole.places, best_matches(queries[3:4], corpus, 8000).places)


def test_an_index_that_finds_too_few_asks_the_exact_search(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr("triplets.mining.search_index.PROBED", 1e-9)  # one list, of some forty texts
    corpus = clustered(4000, 16, seed=2)
    matches = IndexTeacher(corpus, corpus).matches([0, 1], 900)
    np.testing.assert_array_equal(matches.places, best_matches(corpus[:2], corpus, 900).places)


def test_a_search_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tmp_path / "x.jsonl"), str(tmp_path / "out.jsonl"), "--search", "faiss"]
    assert main([*words, "--teacher", "bm25"]) == 1
    assert "searches vectors, and --teacher bm25 has none" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "faiss", None)
        assert main([*words, "--teacher", "runs/model1"]) == 1
    assert "needs faiss-cpu: pip install faiss-cpu" in capsys.readouterr().err


def test_an_empty_text_is_no_candidate(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"text": " "}) + "\n" + json.dumps({"text": "a"}) + "\n")
    assert list(texts_of(tmp_path / "corpus.jsonl")) == ["a"]


def test_a_corpus_folder_is_read_without_its_test_set(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"text": split}) + "\n")
    assert list(texts_of(tmp_path)) == ["train"]


def test_another_prompt_is_another_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of an interrupted mining with another prompt are not taken."""
    triplets = tmp_path / "triplets.jsonl"
    triplets.write_text("".join(json.dumps({"query": f"q {n}", "positive": f"p {n}"}) + "\n" for n in range(4)))
    folders = []

    def stopped(*arguments: object, folder: Path, **options: object) -> None:
        folders.append(folder)
        raise UserError("stopped")

    monkeypatch.setattr("triplets.mining.run.mine_queries", stopped)
    monkeypatch.setattr("triplets.mining.run.make_teacher", lambda options, pool, work: (None, "teacher"))
    for prompt in ("A ", "A ", "B "):
        with pytest.raises(UserError, match="stopped"):
            mine(MiningOptions(str(triplets), tmp_path / "mined.jsonl", "teacher", query_prompt=prompt), MiningRules())
    assert folders[0] == folders[1] != folders[2]
