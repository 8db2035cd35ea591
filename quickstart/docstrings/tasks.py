"""Evaluation tasks whose gold is what the authors of the documentation wrote; every item is from held-out modules."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from quickstart.docstrings.cleaning import Docstring
from quickstart.docstrings.links import resolve_links
from quickstart.docstrings.sources import STANDARD_LIBRARY
from quickstart.docstrings.triplets import document_text, full_text, is_pair, query_text

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """A task as it is written to a folder.

    Attributes:
        name: folder name and task name.
        kind: ``retrieval``, ``reranking``, ``pair``, ``classification`` or ``clustering``.
        main_score: mteb's name of the task's main score.
        description: what is asked and where the gold is from.
        files: rows of each file, by file name without ``.jsonl.gz``.
    """

    name: str
    kind: str
    main_score: str
    description: str
    files: dict[str, list[Row]]


def retrieval_task(docs: Sequence[Docstring], name: str, size: int, seed: int) -> TaskFiles:
    """Take the summary sentence as query, the rest of the same docstring as the one relevant document."""
    usable = [doc for doc in docs if is_pair(doc)]
    chosen = random.Random(seed).sample(usable, min(size, len(usable)))
    corpus: list[Row] = []
    queries: list[Row] = []
    judgements: list[Row] = []
    for number, doc in enumerate(chosen):
        corpus.append({"id": f"d{number}", "title": "", "text": document_text(doc)})
        queries.append({"id": f"q{number}", "text": query_text(doc)})
        judgements.append({"query-id": f"q{number}", "corpus-id": f"d{number}", "score": 1})
    return TaskFiles(
        name=name,
        kind="retrieval",
        main_score="ndcg_at_10",
        description="Find the rest of a docstring by its summary sentence; the documented name is masked in both.",
        files={"corpus": corpus, "queries": queries, "qrels.test": judgements},
    )


def reranking_task(docs: Sequence[Docstring], size: int, negatives: int, seed: int) -> TaskFiles:
    """Rank the functions that a docstring's "See Also" names among other functions of the same modules."""
    rng = random.Random(seed)
    links, by_module = _links_and_modules(docs)
    rows: list[Row] = []
    for source in sorted(links):
        positives = sorted(links[source])
        linked = _neighbourhood(links, source)
        pool: list[int] = []
        for module in sorted({docs[target].module for target in positives}):
            pool += [index for index in by_module[module] if index not in linked]
        if len(pool) >= negatives // 2:
            chosen = rng.sample(pool, min(negatives, len(pool)))
            rows.append(
                {
                    "query": full_text(docs[source]),
                    "positive": [full_text(docs[i]) for i in positives[:negatives]],
                    "negative": [full_text(docs[i]) for i in chosen],
                }
            )
    return TaskFiles(
        name="DocstringSeeAlsoReranking",
        kind="reranking",
        main_score="map_at_1000",
        description='Rank what the authors link to under "See Also" above other functions of the same modules.',
        files={"test": rng.sample(rows, min(size, len(rows)))},
    )


def pair_task(docs: Sequence[Docstring], size: int, seed: int) -> TaskFiles:
    """Tell linked pairs from others; each negative is from the module of the linked text, so the module tells nothing."""
    rng = random.Random(seed)
    links, by_module = _links_and_modules(docs)
    edges = []
    for source in sorted(links):
        edges += [(source, target) for target in sorted(links[source]) if source < target]
    rng.shuffle(edges)
    rows: list[Row] = []
    for a, b in edges:
        if rng.random() < 0.5:
            a, b = b, a
        linked = _neighbourhood(links, a)
        others = [index for index in by_module[docs[b].module] if index not in linked]
        if others and len(rows) < 2 * size:
            first = full_text(docs[a])
            rows.append({"sentence1": first, "sentence2": full_text(docs[b]), "label": 1})
            rows.append({"sentence1": first, "sentence2": full_text(docs[rng.choice(others)]), "label": 0})
    return TaskFiles(
        name="DocstringSeeAlsoPairs",
        kind="pair",
        main_score="max_ap",
        description='Does "See Also" link the two? Each negative is another function of the linked one\'s own module.',
        files={"test": rows},
    )


def classification_task(docs: Sequence[Docstring], per_label: int, seed: int) -> TaskFiles:
    """Tell the subpackage of a docstring; train and test items come from different modules."""
    rng = random.Random(seed)
    train: list[Row] = []
    test: list[Row] = []
    for label, modules in _labelled_modules(docs, min_modules=4).items():
        halves: tuple[list[Docstring], list[Docstring]] = ([], [])
        for members in sorted(modules, key=len, reverse=True):  # the larger module to the smaller half
            min(halves, key=len).extend(members)
        if min(map(len, halves)) < per_label // 4:
            continue
        for rows, half in zip((train, test), halves, strict=True):
            chosen = rng.sample(half, min(per_label, len(half)))
            rows += [{"text": full_text(doc), "label": label} for doc in chosen]
    return TaskFiles(
        name="DocstringSubpackageClassification",
        kind="classification",
        main_score="accuracy",
        description="Subpackage of a docstring; train and test items come from different modules.",
        files={"train": train, "test": test},
    )


def clustering_task(docs: Sequence[Docstring], per_label: int, seed: int) -> TaskFiles:
    """Group docstrings by subpackage."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for label, modules in _labelled_modules(docs, min_modules=2).items():
        members = list(itertools.chain.from_iterable(modules))
        if len(members) >= per_label:
            rows += [{"sentence": full_text(doc), "label": label} for doc in rng.sample(members, per_label)]
    return TaskFiles(
        name="DocstringSubpackageClustering",
        kind="clustering",
        main_score="v_measure",
        description="Group docstrings by subpackage.",
        files={"test": rows},
    )


def subpackage(doc: Docstring) -> str:
    """Return ``"scipy.stats"``; the package alone where the module lies directly in it."""
    parts = doc.module.removesuffix(".py").split("/")
    if doc.package == STANDARD_LIBRARY or len(parts) < 3:
        return doc.package
    return f"{doc.package}.{parts[1]}"


def _labelled_modules(docs: Sequence[Docstring], min_modules: int) -> dict[str, list[list[Docstring]]]:
    """Return the docstrings of each module by subpackage, where a subpackage has enough modules; the sorted order is fixed."""
    grouped: dict[str, dict[str, list[Docstring]]] = defaultdict(lambda: defaultdict(list))
    for doc in docs:
        if is_pair(doc) and subpackage(doc) != STANDARD_LIBRARY:
            grouped[subpackage(doc)][doc.module].append(doc)
    labelled = {}
    for label, modules in sorted(grouped.items()):
        if len(modules) >= min_modules:
            labelled[label] = [modules[module] for module in sorted(modules)]
    return labelled


def _neighbourhood(links: dict[int, set[int]], source: int) -> set[int]:
    """Return a docstring, those that it links to, and those that these link to."""
    near = {source} | links[source]
    for target in links[source]:
        near |= links[target]
    return near


def _links_and_modules(docs: Sequence[Docstring]) -> tuple[dict[int, set[int]], dict[str, list[int]]]:
    by_module: dict[str, list[int]] = defaultdict(list)
    for index, doc in enumerate(docs):
        by_module[doc.module].append(index)
    return resolve_links(docs), by_module
