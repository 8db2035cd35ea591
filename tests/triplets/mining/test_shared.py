"""Mining against sentence-transformers' results and KaLM's rank window, where they are at hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.tiny import ROOT
from triplets.mining.pool import Pool, make_pool
from triplets.mining.rules import OWN_TEXT, MiningRules
from triplets.mining.search_all import MinedQuery, mine_queries
from triplets.mining.teachers import VectorTeacher
from triplets.triplet import Triplet

FOLDER = ROOT.parent / "shared/neighbours/mining"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared numbers are not here")


def content(name: str) -> dict:
    return json.loads((FOLDER / name).read_text())


def mined(rules: MiningRules, *, variants: bool, own_text: bool, depth: int | None = None) -> tuple[Pool, list[MinedQuery]]:
    texts, vectors = content("texts.json"), np.load(FOLDER / "vectors.npz")
    triplets = [Triplet(query, positive, []) for query, positive in texts["pairs"]]
    pool = make_pool(triplets, texts["corpus"], variants=variants, own_text=own_text)
    rows = [texts["corpus"].index(text) for text in pool.corpus]
    order = [texts["queries"].index(text) for text in pool.queries]
    teacher = VectorTeacher(vectors["queries"][order], vectors["corpus"][rows])
    return pool, list(mine_queries(pool, teacher, rules, depth=depth))


NAMES = ["top3", "percpos95", "percpos95_ranks", "marginpos", "abs", "minmax", "window", "window_percpos"]


@pytest.mark.parametrize("name", NAMES)
def test_equals_sentence_transformers(name: str) -> None:
    golden = content("golden_mine_hard_negatives.json")
    options = dict(golden[f"{name}/triplet"]["options"])
    number, first, last = options.pop("num_negatives"), options.pop("range_min", 0), options.pop("range_max", None)
    rules = MiningRules(negatives=number, first_rank=first, last_rank=last, window="survivors", **options)
    most = 2  # positives of a query
    filters = any(key in options for key in ("relative_margin", "absolute_margin", "max_score", "min_score"))
    last = last or (first + 10 * number + most if filters else first + number + most)
    pool, results = mined(rules, variants=False, own_text=False, depth=last + most)
    for query, result in zip(pool.queries, results, strict=True):
        texts = [pool.corpus[place] for place in result.negatives]
        oracle = golden[f"{name}/oracle"][query]
        assert texts == [text for text, _ in oracle]
        np.testing.assert_allclose(result.scores, [score for _, score in oracle], atol=1e-6)


def test_equals_the_rank_window_of_kalm() -> None:
    golden = content("golden_rank_window.json")
    low, high = golden["window"]
    rules = MiningRules(negatives=high - low, first_rank=low, last_rank=high, consistency_rank=golden["filter_topk"])
    pool, results = mined(rules, variants=False, own_text=True)
    for query, result in zip(pool.queries, results, strict=True):
        expected = golden["result"][query]
        assert result.consistent is not expected["dropped"]
        assert [pool.corpus[place] for place in result.negatives] == expected["candidates"]


def test_no_known_positive_is_mined() -> None:
    pool, results = mined(MiningRules(negatives=20), variants=True, own_text=True)
    mined_texts = set()
    for query, result in zip(pool.queries, results, strict=True):
        texts = {" ".join(pool.corpus[place].casefold().split()) for place in result.negatives}
        positives = {pool.corpus[place].casefold() for place in pool.positives[pool.number_of[query]]}
        assert not texts & (positives | {query})
        mined_texts |= texts
    assert len(results[0].negatives) == 20 and OWN_TEXT in results[2].rejected
