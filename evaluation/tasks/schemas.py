"""The kinds of task folders: their files, their columns, and the mteb task that each of them makes.

The files are JSON lines, plain or gzip-compressed. Their names and columns say what the task is:

| kind             | files                                                         | columns                              |
|------------------|---------------------------------------------------------------|--------------------------------------|
| `sts`            | `test`                                                        | `sentence1, sentence2, score`        |
| `pair`           | `test`                                                        | `sentence1, sentence2, label` (0, 1) |
| `classification` | `train`, `test`                                               | `text, label`                        |
| `clustering`     | `test`                                                        | `sentence, label`                    |
| `reranking`      | `test`                                                        | `query, positive[], negative[]`      |
| `retrieval`      | `corpus` (`id, text`, maybe `title`), `queries` (`id, text`), | `query-id, corpus-id, score`         |
|                  | `qrels.test` or BEIR's `qrels/test.tsv`                       |                                      |

Under the name of one of mteb's older clustering tasks (`ArxivClusteringP2P`) each row names its `set` of texts, too. Rows of
reranking may have an `id`.

Texts may be empty. The split is `test`; a folder with the name of one of mteb's tasks has the split that the task is scored
on, such as `qrels.dev` for MSMARCO. A subset goes before or after the split's name (`en.test.jsonl.gz`,
`test.en-en.jsonl`). `test.mteb_tok`, where there is one, stands for `test`: it is the tokenised copy that mteb distributes
and published scores are made with.

A new kind is one more row of `SCHEMAS`. Its rows go to mteb as a table, or `evaluation/tasks/local_task.py` gets a function
for a new `Layout`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskPairClassification, AbsTaskSTS

TaskRow = dict[str, Any]  # one line of a task's file

TRAIN = "train"
EVALUATED = ("test", "dev", "validation")  # splits that a task may be scored on, in the order in which they are looked for
SPLITS = (TRAIN, *EVALUATED)

# mteb's default embeds 4 % of the texts. A folder of mteb's name keeps what mteb's class says; another one is embedded
# whole up to this many texts, drawn with a fixed seed. The fewer texts, the higher is chance: random vectors have a
# V-measure of 0.019 here with 20 labels, and of 0.007 with 20,000 texts.
MAX_CLUSTERING_TEXTS = 4096


class Content(Enum):
    """The content of a column, which decides how its values are checked."""

    TEXT = auto()
    TEXTS = auto()  # a list
    ID = auto()
    LABEL = auto()
    SCORE = auto()


@dataclass(frozen=True)
class FileColumn:
    """A column of a task's file; one that is not required may be missing from a row, or null."""

    name: str
    content: Content
    required: bool = True


class Layout(Enum):
    """The way in which a folder's rows become those of mteb's task."""

    TABLE = auto()  # column by column
    CANDIDATES = auto()  # a row is a query with its candidates
    CORPUS = auto()  # documents, queries and judgements have files of their own


DOCUMENT = (FileColumn("id", Content.ID), FileColumn("text", Content.TEXT), FileColumn("title", Content.TEXT, required=False))
QUERY = (FileColumn("id", Content.ID), FileColumn("text", Content.TEXT))
JUDGEMENT = (FileColumn("query-id", Content.ID), FileColumn("corpus-id", Content.ID), FileColumn("score", Content.SCORE))
SET = FileColumn("set", Content.ID)  # of clustering rows under a name whose mteb class clusters sets of texts one by one
SENTENCE_PAIR = (FileColumn("sentence1", Content.TEXT), FileColumn("sentence2", Content.TEXT))


def sts_columns(task: AbsTaskSTS) -> dict[str, str]:
    """Return the names that mteb's STS task has for our columns."""
    first, second = task.column_names
    return {"sentence1": str(first), "sentence2": str(second), "score": "score"}


def pair_columns(task: AbsTaskPairClassification) -> dict[str, str]:
    """Return the names that mteb's task of pairs has for our columns."""
    first, second = task.input1_column_name, task.input2_column_name
    return {"sentence1": str(first), "sentence2": str(second), "label": task.label_column_name}


def classification_columns(task: AbsTaskClassification) -> dict[str, str]:
    """Return the names that mteb's classification task has for our columns."""
    return {"text": str(task.input_column_name), "label": task.label_column_name}


def clustering_columns(task: AbsTaskClustering) -> dict[str, str]:
    """Return the names that mteb's clustering task has for our columns."""
    return {"sentence": str(task.input_column_name), "label": task.label_column_name}


@dataclass(frozen=True)
class TaskSchema:
    """A kind of task folder.

    Attributes:
        kind: its name in `task.json`.
        mteb_type: mteb's name of it, which `task.json` may give too.
        mteb_class: name of mteb's class, in `mteb.abstasks`.
        main_score: the score of a folder that names none, and that is none of mteb's tasks.
        category: mteb's short word for what is compared: text to text, text to class.
        columns: of the scored file: of `test`, for retrieval of `qrels.test`.
        layout: how rows become mteb's.
        pair: two columns whose texts belong together, so that training on both would leak the answer.
        mteb_columns: gives the names that a mteb task has for our columns, for tables.
        trains: a classifier is trained on the split `train`.
        binary: labels are 0 and 1.
        clusters: texts are clustered, and clusters compared with labels.
        class_attributes: what a folder that is none of mteb's tasks has instead of the class's own.
    """

    kind: str
    mteb_type: str
    mteb_class: str
    main_score: str
    columns: tuple[FileColumn, ...]
    category: str = "t2t"
    layout: Layout = Layout.TABLE
    pair: tuple[str, str] | None = None
    mteb_columns: Callable[[Any], dict[str, str]] | None = None
    trains: bool = False
    binary: bool = False
    clusters: bool = False
    class_attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the columns that every row of the scored file has."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def label_column(self) -> bool:
        """Whether rows have a label."""
        return "label" in self.needed

    def texts(self, row: TaskRow) -> list[str]:
        """Return a row's texts in the order of the columns; a column that is empty or missing gives none."""
        texts: list[str] = []
        for column in self.columns:
            if column.content in (Content.TEXT, Content.TEXTS):
                texts += _texts(row.get(column.name))
        return texts

    def pairs(self, row: TaskRow) -> list[tuple[str, str]]:
        """Return the pairs of a row's texts that belong together: two sentences, or a query and each of its positives."""
        if self.pair is None:
            return []
        first, second = self.pair
        return list(product(_texts(row.get(first)), _texts(row.get(second))))


def _texts(value: object) -> list[str]:
    if not value:
        return []
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


_ROWS = (
    TaskSchema(
        kind="reranking",
        mteb_type="Reranking",
        mteb_class="AbsTaskRetrieval",
        main_score="map_at_1000",
        columns=(
            FileColumn("query", Content.TEXT),
            FileColumn("positive", Content.TEXTS),
            FileColumn("negative", Content.TEXTS),
            FileColumn("id", Content.ID, required=False),
        ),
        layout=Layout.CANDIDATES,
        pair=("query", "positive"),
    ),
    TaskSchema(
        kind="sts",
        mteb_type="STS",
        mteb_class="AbsTaskSTS",
        main_score="cosine_spearman",
        columns=(*SENTENCE_PAIR, FileColumn("score", Content.SCORE)),
        pair=("sentence1", "sentence2"),
        mteb_columns=sts_columns,
    ),
    TaskSchema(
        kind="pair",
        mteb_type="PairClassification",
        mteb_class="AbsTaskPairClassification",
        main_score="max_ap",
        columns=(*SENTENCE_PAIR, FileColumn("label", Content.LABEL)),
        pair=("sentence1", "sentence2"),
        mteb_columns=pair_columns,
        binary=True,
    ),
    TaskSchema(
        kind="classification",
        mteb_type="Classification",
        mteb_class="AbsTaskClassification",
        main_score="accuracy",
        category="t2c",
        columns=(FileColumn("text", Content.TEXT), FileColumn("label", Content.LABEL)),
        mteb_columns=classification_columns,
        trains=True,
    ),
    TaskSchema(
        kind="clustering",
        mteb_type="Clustering",
        mteb_class="AbsTaskClustering",
        main_score="v_measure",
        category="t2c",
        columns=(FileColumn("sentence", Content.TEXT), FileColumn("label", Content.LABEL)),
        mteb_columns=clustering_columns,
        clusters=True,
        class_attributes={
            "max_fraction_of_documents_to_embed": None,
            "max_document_to_embed": MAX_CLUSTERING_TEXTS,
        },
    ),
    TaskSchema(
        kind="retrieval",
        mteb_type="Retrieval",
        mteb_class="AbsTaskRetrieval",
        main_score="ndcg_at_10",
        columns=JUDGEMENT,
        layout=Layout.CORPUS,
    ),
)
SCHEMAS: Mapping[str, TaskSchema] = {schema.kind: schema for schema in _ROWS}


def schema_named(name: str) -> TaskSchema | None:
    """Return the schema of a kind, given by our name or by mteb's; None where there is none."""
    for schema in _ROWS:
        if name in (schema.kind, schema.mteb_type):
            return schema
    return None


def schema_of_columns(names: Iterable[str]) -> TaskSchema | None:
    """Return the first schema whose rows have only columns that are among `names`; None where there is none."""
    present = set(names)
    for schema in _ROWS:
        if schema.layout is not Layout.CORPUS and present.issuperset(schema.needed):
            return schema
    return None


def text_columns() -> tuple[str, ...]:
    """Return the names of all columns that hold texts, in files of any kind."""
    columns = [*DOCUMENT, *QUERY]
    for schema in _ROWS:
        columns += schema.columns
    names = [column.name for column in columns if column.content in (Content.TEXT, Content.TEXTS)]
    return tuple(dict.fromkeys(names))
