"""Texts that mining leaves out: found in rows of any kind, kept once, and the same negatives as if each query had them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.triplets.mining.test_mining import pool_and_teacher
from triplets.mining.pool import Pool, make_pool
from triplets.mining.rules import LEFT_OUT, MiningRules
from triplets.mining.run import _without
from triplets.mining.search_all import mine_queries
from triplets.triplet import Triplet


def left_out(pool: Pool, file: Path) -> set[str]:
    return {pool.corpus[place] for place in np.flatnonzero(_without(pool, [file]).left_out)}


def test_texts_to_leave_out_are_found_without_their_title(tmp_path: Path) -> None:
    pool = make_pool([Triplet("q", "p", ["body", "head body", "other"])])
    (tmp_path / "test.jsonl").write_text(json.dumps({"title": "head", "text": "body"}) + "\n")
    assert left_out(pool, tmp_path / "test.jsonl") == {"body", "head body"}


def test_texts_to_leave_out_may_stand_in_rows_of_any_kind(tmp_path: Path) -> None:
    pool = make_pool([Triplet("q", "p", ["listed", "paired", "other"])])
    rows = [{"query": "q", "positive": ["listed"]}, {"sentence1": "paired", "sentence2": "x", "score": 1}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert left_out(pool, tmp_path / "test.jsonl") == {"listed", "paired"}


OPTIONS = [{"negatives": 4}, {"negatives": 2, "last_rank": 9}, {"negatives": 3, "window": "survivors"}]


@pytest.mark.parametrize("options", OPTIONS)
def test_texts_to_leave_out_are_kept_once_and_change_nothing_else(options: dict, tmp_path: Path) -> None:
    """The negatives and counts are those of queries that each have all these places among their own."""
    pool, teacher = pool_and_teacher()
    (tmp_path / "test.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("b", "D", "g")))
    shared, rules = _without(pool, [tmp_path / "test.jsonl"]), MiningRules(**options)
    assert shared.excluded == pool_and_teacher()[0].excluded
    each = [dict.fromkeys((1, 3, 7), LEFT_OUT) | reasons for reasons in pool.excluded]
    assert [shared.barred(number) for number in range(3)] == [len(reasons) for reasons in each] == [5, 5, 5]
    expected = list(mine_queries(replace(pool, excluded=each), teacher, rules))
    assert list(mine_queries(shared, teacher, rules)) == expected
    assert any(LEFT_OUT in result.rejected for result in expected)
