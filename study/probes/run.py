"""Run the chosen probes on each model: the table of probes, and the processes that encode together.

Each process loads the model. The first one runs the probes, and every call that encodes is shared by all (`evaluation.encode.
distributed`), so that figures do not depend on their number: a text's vector depends on the text alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError, nearest
from common.file_hashes import file_hash
from common.hashes import digest
from evaluation.encode.distributed import Processes
from evaluation.encode.rank import Rank
from evaluation.encode.sharded_encoder import Encode, TextEncoder, encode_here
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import library_versions
from study.probes import NAMES, VERSION
from study.probes.encoder import Probed, cut_of
from study.probes.kept import Kept
from study.probes.kinds.compression import compression
from study.probes.kinds.dilution import dilution
from study.probes.kinds.geometry import geometry
from study.probes.kinds.layers import layers
from study.probes.kinds.massive import massive
from study.probes.kinds.position import position
from study.probes.kinds.word_order import word_order
from study.probes.models import Asked, free_memory, max_length
from study.probes.result import Cost, Outcome, ProbeResult
from study.probes.texts import Corpus, read_corpus
from study.probes.token_states import LayerReader, Layers, split

CORPUS_TIMES = 20  # as many texts as a probe has are read at most: the others give sentences to put around
OfVectors = Callable[[Probed, Corpus, int, int], ProbeResult]
OfLayers = Callable[[Probed, EmbedModel, Corpus, int, int], ProbeResult]


@dataclass(frozen=True)
class Settings:
    """What the command line says beside the models.

    Attributes:
        probes: names, in the order of the table.
        texts: of a probe at most.
        seed: of sentences, places and intervals.
        max_length: tokens a text at most; None for what `models.max_length` says.
    """

    probes: Sequence[str]
    texts: int
    seed: int
    max_length: int | None


def corpus_for(file: Path, key: str, texts: int) -> Corpus:
    """Read a corpus for probes of so many texts: some more, whose sentences stand around those of the probes."""
    return read_corpus(file, key, CORPUS_TIMES * texts)


def facts_of(settings: Settings, file: Path, corpus: Corpus) -> dict[str, Any]:
    """Return the facts of a run that stand beside its results: corpus, settings, versions."""
    return {
        "corpus": {"file": file.name, "hash": file_hash(file), "texts": len(corpus.texts)},
        "seed": settings.seed,
        "texts": settings.texts,
        "max_length": settings.max_length,
        "probes_version": VERSION,
        "versions": library_versions(),
    }


def read_layers(probed: Probed, model: EmbedModel, texts: Sequence[str], query: bool = False) -> Layers:
    """Return the states of texts by layer."""
    shard = probed.encode(texts, "query" if query else "document")
    shows_attention = LayerReader(model).shows_attention
    return split(shard.vectors, model.base_model.num_layers, shows_attention, int(cut_of(shard).sum()))


def probe_layers(probed: Probed, model: EmbedModel, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Run the probe `layers`."""
    firsts, seconds = corpus.halves(texts)
    return layers(read_layers(probed, model, firsts, query=True), read_layers(probed, model, seconds), seed)


def probe_massive(probed: Probed, model: EmbedModel, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Run the probe `massive`."""
    return massive(read_layers(probed, model, corpus.texts[:texts]), seed)


# By name; `study.probes.NAMES` has the order.
OF_VECTORS: dict[str, OfVectors] = {
    "position": position,
    "dilution": dilution,
    "word_order": word_order,
    "geometry": geometry,
    "compression": compression,
}
OF_LAYERS: dict[str, OfLayers] = {"layers": probe_layers, "massive": probe_massive}


def chosen_probes(asked: Sequence[str]) -> list[str]:
    """Return the probes that are asked for in the order of the table; all for none.

    Raises:
        UserError: there is no such probe.
    """
    for name in asked:
        if name not in NAMES:
            raise UserError(f"--probes: there is no {name!r}{nearest(name, NAMES)}; the probes are {', '.join(NAMES)}")
    return [name for name in NAMES if not asked or name in asked]


def run(asked: Asked, corpus: Corpus, settings: Settings, rank: Rank, folder: Path | None = None) -> list[Outcome]:
    """Run the probes on all models; the processes beside the first one help to encode, and return nothing.

    A model that cannot be loaded has a reason instead of results.

    Args:
        asked: the models.
        corpus: texts.
        settings: of the probes.
        rank: of this process.
        folder: keeps what was found until the results are written (`kept_in`), for a run that is stopped; with one process.
    """
    kept = None if folder is None or rank.size > 1 else kept_in(folder, corpus, settings)
    outcomes: list[Outcome] = []
    for name, load in asked.models():
        try:
            model = load()
            earlier = None if kept is None else kept.read(name, model.version)
            if earlier is not None:
                print(f"{name}: found by a run that was stopped", file=sys.stderr, flush=True)
                outcomes += earlier
                continue
            found = run_on(model, name, corpus, settings, rank)
            if kept is not None:
                kept.write(name, model.version, found)
            outcomes += found
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            outcomes += [Outcome(name, probe, None, str(error), Cost()) for probe in settings.probes]
        free_memory()
    return outcomes


def kept_in(folder: Path, corpus: Corpus, settings: Settings) -> Kept:
    """Return the place below a folder of results where what was found is kept, until they are written."""
    return Kept(folder, digest([VERSION, asdict(settings), corpus.texts], 32))


def run_on(model: EmbedModel, name: str, corpus: Corpus, settings: Settings, rank: Rank) -> list[Outcome]:
    """Run the probes on one model."""
    outcomes: list[Outcome] = []
    readers: list[tuple[Collection[str], TextEncoder]] = [(OF_VECTORS, model), (OF_LAYERS, LayerReader(model))]  # type: ignore[list-item]
    for table, encoder in readers:
        chosen = [probe for probe in settings.probes if probe in table]
        if not chosen:
            continue
        with together(encode_here(encoder), model, rank) as encode:
            if encode is None:
                continue
            for probe in chosen:
                probed = Probed(encode, max_length(model, settings.max_length))
                outcomes.append(run_one(probed, model, name, probe, (corpus, settings)))
    return outcomes


def run_one(probed: Probed, model: EmbedModel, name: str, probe: str, about: tuple[Corpus, Settings]) -> Outcome:
    """Run one probe on one model; one that the corpus does not allow has a reason instead of a result."""
    corpus, settings = about
    result, failure = None, ""
    try:
        if probe in OF_VECTORS:
            result = OF_VECTORS[probe](probed, corpus, settings.texts, settings.seed)
        else:
            result = OF_LAYERS[probe](probed, model, corpus, settings.texts, settings.seed)
    except UserError as error:
        failure = str(error)
    cost = probed.take_cost()
    if result is not None:
        result = replace(result, notes=[*result.notes, *lengths_note(cost, model)])
    print(f"{name}: {probe}: {failure or cost.shown()}", file=sys.stderr, flush=True)
    return Outcome(name, probe, result, failure, cost)


def lengths_note(cost: Cost, model: EmbedModel) -> list[str]:
    """Return a note on texts that are longer than those that the adapter was made for."""
    own = model.recipe.length("document")
    if cost.longest <= own:
        return []
    average = cost.tokens / cost.texts
    return [f"texts have up to {cost.longest:,} tokens, {average:,.0f} on average; the adapter's own length is {own:,}"]


@contextmanager
def together(encode: Encode, model: EmbedModel, rank: Rank) -> Iterator[Encode | None]:
    """Yield what encodes on all processes; on those beside the first one, None after they have served.

    Args:
        encode: encodes on this process.
        model: must be the same on all.
        rank: of this process.
    """
    if rank.size == 1:
        yield encode
        return
    processes = Processes(rank, encode)
    processes.agree(model.version, None)
    if not rank.first:
        processes.serve()
        yield None
        return
    try:
        yield processes.encode
    finally:
        processes.close()
