"""A mining from files to a file: read, encode, search, choose, write whole."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

import model_loaders
from common.disk import check_apart, check_writable
from common.errors import UserError
from common.files import replacing, write_json
from common.hashes import digest
from common.locks import locked
from common.text_hash import text_hashes
from model_loaders.embed_model import EmbedModel
from model_loaders.text.prompts import Role
from triplets.check.overlap import texts_to_leave_out
from triplets.data_sets import DataSet
from triplets.folders import training_files
from triplets.formats import rows
from triplets.mining.pool import Pool, make_pool
from triplets.mining.rules import MiningRules
from triplets.mining.search_all import MinedQuery, MiningReport, mine_queries, report_of
from triplets.mining.search_index import IndexTeacher, load_faiss
from triplets.mining.teachers import Teacher, VectorTeacher, WordTeacher
from triplets.mining.vectors import stored_vectors
from triplets.prepare import prepared_data
from triplets.triplet import Triplet

WORDS = "bm25"  # the teacher that needs no model


@dataclass(frozen=True)
class MiningOptions:
    """What is mined, by whom, and where the result goes.

    Attributes:
        triplets: file, folder or hub name of the triplets.
        output: JSON lines to write.
        teacher: what ``model_loaders.load`` takes, or ``bm25``.
        corpus: files of further texts, or folders of them, whose split ``train`` is read.
        leave_out: files of texts that must not be mined, such as those of evaluation sets.
        query_prompt: instead of the teacher's own.
        document_prompt: instead of the teacher's own.
        search: ``exact``, or ``faiss`` for an approximate index over the teacher's vectors.
        depth: matches of a query that are looked at; None for as many as the rules need.
        too_few: ``keep`` or ``drop`` rows with fewer negatives than wanted.
        variants: texts that differ only in case or white space count as the same.
        own_text: a query's own text is no negative of it.
        cache_dir: of the prepared triplets and the hub.
    """

    triplets: str
    output: Path
    teacher: str
    corpus: tuple[Path, ...] = ()
    leave_out: tuple[Path, ...] = ()
    query_prompt: str | None = None
    document_prompt: str | None = None
    search: str = "exact"
    depth: int | None = None
    too_few: str = "keep"
    variants: bool = True
    own_text: bool = True
    cache_dir: str | None = None


@dataclass(frozen=True)
class Mined:
    """The result of a mining: its figures, and some rows to read."""

    report: MiningReport
    rows: int
    dropped: int
    sample: list[dict[str, object]]


def mine(options: MiningOptions, rules: MiningRules) -> Mined:
    """Mine hard negatives for all rows of a data set, and write the rows with them.

    What was encoded and searched stays in ``<output>.mining`` until the output is written; the same command continues there.

    Raises:
        UserError: data, teacher or output cannot be used.
    """
    if options.search == "faiss":
        if options.teacher == WORDS:
            raise UserError("--search faiss searches vectors, and --teacher bm25 has none: leave it out")
        load_faiss()
    check_apart(options.output, [Path(options.triplets), *options.corpus, *options.leave_out])
    check_writable(options.output.parent, "output")
    work = options.output.with_name(options.output.name + ".mining")
    work.mkdir(exist_ok=True)
    with locked(work / "lock", f"a mining into {options.output}", patience=0):
        mined = _mine(options, rules, work)
    shutil.rmtree(work)
    return mined


def _mine(options: MiningOptions, rules: MiningRules, work: Path) -> Mined:
    data_set = DataSet(options.triplets, label=options.triplets, repeat=1.0)
    prepared = prepared_data(data_set, "error", options.cache_dir)
    triplets = [Triplet(row["query"], row["positive"], row["negatives"], row["place"]) for row in prepared.rows]
    more = (text for path in options.corpus for text in texts_of(path))
    pool = _without(make_pool(triplets, more, variants=options.variants, own_text=options.own_text), options.leave_out)
    teacher, name = make_teacher(options, pool, work)
    prompts = [options.query_prompt, options.document_prompt]
    facts = [name, prompts, asdict(rules), options.depth, options.variants, options.own_text, _content(pool)]
    folder = work / digest(facts, 16)
    folder.mkdir(exist_ok=True)
    with tqdm(total=len(pool.queries), desc="queries searched", unit="", file=sys.stderr, disable=None) as bar:
        results = list(mine_queries(pool, teacher, rules, depth=options.depth, folder=folder, on_block=bar.update))
    return write_rows(options, rules, pool, triplets, results, apart=teacher.apart)


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts of a corpus: the key ``text`` of each row, after its ``title`` if there is one; no empty ones.

    Of a folder that has splits, those of ``train``.

    Raises:
        UserError: a row without a text; the message names it. A folder has no such data.
    """
    for file in training_files(path):
        for place, row in rows(file):
            text = row.get("text") if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise UserError(f"{place}: a corpus needs rows with the key 'text'")
            title = row.get("title") if isinstance(row, dict) else None
            if text.strip():
                yield f"{title} {text}" if isinstance(title, str) and title else text


def _without(pool: Pool, files: Sequence[Path]) -> Pool:
    """Return the pool in which the texts of some files are nobody's negatives."""
    if not files:
        return pool
    hashes = texts_to_leave_out(files)
    return replace(pool, left_out=np.array([key in hashes for key in text_hashes(pool.corpus).tolist()]))


def _content(pool: Pool) -> str:
    excluded = [sorted(reasons) for reasons in pool.excluded]
    return digest([pool.queries, pool.corpus, excluded, np.flatnonzero(pool.left_out).tolist()], 32)


def make_teacher(options: MiningOptions, pool: Pool, work: Path) -> tuple[Teacher, str]:
    """Return the teacher and its name with version and search; a model encodes queries and corpus first."""
    if options.teacher == WORDS:
        return WordTeacher(pool.queries, pool.corpus), f"{WORDS}, texts with a common word"
    model = model_loaders.load(options.teacher, cache_dir=options.cache_dir)
    version = f"{options.teacher} {model.version}"
    queries = _vectors(model, pool.queries, "query", options.query_prompt, work)
    corpus = _vectors(model, pool.corpus, "document", options.document_prompt, work)
    if options.search == "faiss":
        path = work / f"{digest([version, options.document_prompt, pool.corpus], 16)}.faiss"
        return IndexTeacher(queries, corpus, path), f"{version} faiss"
    return VectorTeacher(queries, corpus), version


def _vectors(model: EmbedModel, texts: list[str], role: Role, prompt: str | None, work: Path) -> np.ndarray:
    """Return the vectors of texts, from the work folder where they are there."""
    path = work / f"{digest([model.version, role, prompt, texts], 16)}.npy"
    with tqdm(total=len(texts), desc=f"{role} texts encoded", unit="", file=sys.stderr, disable=None) as bar:
        return stored_vectors(model, texts, role, path, prompt=prompt, on_piece=bar.update)


def write_rows(
    options: MiningOptions,
    rules: MiningRules,
    pool: Pool,
    triplets: Sequence[Triplet],
    results: Sequence[MinedQuery],
    *,
    apart: float,
) -> Mined:
    """Write the rows with their negatives, in their order, whole or not at all; and the report beside them."""
    sample: list[dict[str, object]] = []
    written = 0
    with replacing(options.output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for triplet in triplets:
            result = results[pool.number_of[triplet.query]]
            if not result.consistent or (options.too_few == "drop" and len(result.negatives) < rules.negatives):
                continue
            negatives = [pool.corpus[place] for place in result.negatives]
            row: dict[str, object] = {"query": triplet.query, "positive": triplet.positive, "negative": negatives}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
            if len(sample) < 3 and negatives:
                sample.append(row)
        if not written:
            raise UserError("no row is left: the rules drop all; loosen --consistency_rank, the margins or --too_few")
    report = report_of(pool, rules, list(results), apart)
    prompts = {"query_prompt": options.query_prompt, "document_prompt": options.document_prompt}
    facts = {"teacher": options.teacher, **prompts, "search": options.search, "rules": asdict(rules), "rows": written}
    facts |= asdict(report)
    write_json(facts, options.output.with_name(options.output.name + ".report.json"))
    return Mined(report, written, len(triplets) - written, sample)
