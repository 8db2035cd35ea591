"""The table of kinds agrees with mteb and with itself."""

from __future__ import annotations

import pytest
from mteb import abstasks

from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_task import READERS
from evaluation.tasks.schemas import SCHEMAS, Layout, schema_named, schema_of_columns, text_columns


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_rows_of_the_table(schema, data_dir):
    name = f"Tiny{schema.mteb_type.replace('PairClassification', 'Pair')}"
    (spec,) = find_tasks([name], data_dir)
    task = spec.task()
    assert isinstance(task, getattr(abstasks, schema.mteb_class))
    assert (task.metadata.type, task.metadata.main_score) == (schema.mteb_type, schema.main_score)
    assert spec.local.schema is schema is schema_named(schema.kind) is schema_named(schema.mteb_type)
    if schema.layout is Layout.TABLE:
        names = schema.mteb_columns(task)
        assert [*names] == [column.name for column in schema.columns] and schema_of_columns(names) is schema
    else:
        assert schema.layout in READERS


def test_texts_and_pairs_of_a_row():
    row = {"query": "q", "positive": ["p", "o"], "negative": ["n"], "id": "7"}
    assert SCHEMAS["reranking"].texts(row) == ["q", "p", "o", "n"]
    assert SCHEMAS["reranking"].pairs(row) == [("q", "p"), ("q", "o")]
    assert SCHEMAS["sts"].pairs({"sentence1": "a", "sentence2": "b", "score": 1}) == [("a", "b")]
    assert SCHEMAS["clustering"].texts({"sentence": "", "label": 1}) == []
    assert {"title", "text", "negative", "sentence2"} < set(text_columns()) and "id" not in text_columns()
