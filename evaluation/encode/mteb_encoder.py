"""An embedder as mteb sees it, and the revision under which its results are filed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from common.errors import UserError
from common.hashes import digest
from evaluation.encode.counts import Ledger, Side, beginning
from evaluation.encode.encoder_facts import encoder_facts
from evaluation.encode.lazy_model import loaded
from evaluation.encode.prompt_plan import Chosen, PromptPlan, make_plan
from evaluation.encode.saved_vectors import EmbeddingFiles
from evaluation.encode.sharded_encoder import Encode, ShardedEncoder, encode_here
from evaluation.encode.vector_store import SHARD_TEXTS
from evaluation.progress import MODEL, Progress
from model_loaders.text.prompts import PLACEHOLDER, Role, render

PLURALS = {"query": "queries", "document": "documents", "text": "texts"}
ORGANISATION = "ours"  # mteb's names are organisation/model
# Raise when scoring or the making of tasks changes: all results are then computed anew. Where vectors change, raise
# evaluation.encode.vector_store.FORMAT too, or they are taken from caches.
EVALUATION_VERSION = 4


class TextEncoder(Protocol):
    """What can be scored: `EmbedModel`, and anything else with such an `encode`."""

    def encode(
        self,
        texts: list[str],
        role: Role = "document",
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Return float32 vectors of unit length, `(len(texts), dim)`; `None` means the encoder's own prompt, length."""
        ...


class MtebEncoder(AbsEncoder):  # type: ignore[misc]
    """Gives mteb's batches to a `TextEncoder`, with the side and the prompt of their task.

    Texts of tasks without sides (mteb's `prompt_type` is None) get the prompt of queries, as in the published evaluation
    and as models with `query: ` prefixes want it, and the maximum length of documents: they may be as long.

    Attributes:
        plan: chooses prompts.
        recipe: what beside weights and prompts decides a vector; part of the revision and of every key.
        ledger: for each task and side, the prompt, how the first text as rendered begins, and counts.
        progress: is told of every text.
        files: gets the vectors of the task that is scored; None for nowhere.
        sharded: encodes; its store and journal are those of the task that is scored.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        name: str,
        version: str,
        *,
        plan: PromptPlan | None = None,
        max_length: int | None = None,
        extra_recipe: Mapping[str, Any] | None = None,
        encode: Encode | None = None,
        shard_texts: int = SHARD_TEXTS,
    ) -> None:
        self.model = encoder
        self.plan = plan or make_plan(encoder)
        self.max_length = max_length
        self.recipe = {"max_length": max_length, **(extra_recipe or {})}
        self._facts = {"version": version, "recipe": self.recipe, "evaluation_version": EVALUATION_VERSION}
        self.ledger = Ledger()
        self.progress: Progress | None = None
        self.files: EmbeddingFiles | None = None
        decides = {"version": version, "recipe": extra_recipe, "dtype": getattr(encoder, "dtype", None)}
        self.sharded = ShardedEncoder(encoder, decides, encode or encode_here(encoder), shard_texts=shard_texts)
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"{ORGANISATION}/{name.replace('/', '_')}",
                "revision": digest({**self._facts, "prompts": self.plan.settings}, digits=16),
                "similarity_fn_name": ScoringFunction.COSINE,  # the enum: mteb compares with `is`
                "embed_dim": getattr(encoder, "dim", None),
                "max_tokens": max_length,
            }
        )

    def key(self, task_metadata: Any) -> str:
        """Hash everything that the scores of a task depend on: weights, recipe, its prompts, its data, how we score."""
        data = task_metadata.dataset
        return digest(
            {**self._facts, "prompts": self.plan.of(task_metadata), "data": [data["path"], data["revision"]]}, digits=16
        )

    def load(self) -> None:
        """Load the model, if it is not loaded.

        Raises:
            NotLoaded: it cannot be loaded.
        """
        with self.progress.once(MODEL) if self.progress is not None else nullcontext():
            loaded(self.model)

    def facts(self) -> dict[str, Any]:
        """Return what is known of the encoder, for the record."""
        return encoder_facts(loaded(self.model))

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **_: Any,
    ) -> np.ndarray:
        """Return the vectors of all texts of a mteb data loader, `(texts, dim)` float32."""
        texts, ids = _texts_and_ids(inputs)
        role: Role = "document" if prompt_type is PromptType.document else "query"
        chosen = self.plan.choose(task_metadata, role)
        name = "text" if prompt_type is None else role
        own = getattr(self.model, "recipe", None)  # EmbedModel's, from its manifest
        max_length = self.max_length
        if max_length is None and prompt_type is None and own is not None:
            max_length = own.length("document")
        side = self._side(task_metadata.name, name, role, chosen, max_length, texts)
        if self.progress is not None:
            self.progress.begin_call(PLURALS[name], len(texts), sum(map(len, texts)))
        began = time.monotonic()
        encoded, counts = self.sharded.encode(texts, role, prompt=chosen.prompt, max_length=max_length)
        seconds = time.monotonic() - began
        if side is not None:
            side.add(len(texts), encoded.tokens, encoded.cut, seconds, reused=counts.reused, again=counts.again)
        if self.progress is not None:
            self.progress.end_call()
        if self.files is not None:
            self.files.add(hf_subset, hf_split, name, ids, texts, encoded.vectors)
        return encoded.vectors

    def _side(self, task: str, name: str, role: Role, chosen: Chosen, max_length: int | None, texts: list[str]) -> Side | None:
        """Return the account of a task's side; it is opened with the first text."""
        side = self.ledger.side(task, name)
        if side is None and texts:
            own = getattr(self.model, "recipe", None)  # EmbedModel's, from its manifest
            length = max_length or (own.length(role) if own is not None else None)
            first = beginning(render(texts[0], chosen.prompt or ""))
            if length is not None and chosen.prompt:
                self._check_room(name, chosen, length)
            side = self.ledger.open(task, name, Side(role, chosen.prompt, chosen.source, length, first))
        return side

    def _check_room(self, name: str, chosen: Chosen, length: int) -> None:
        """Raise a UserError if what stands before the texts fills the maximum length: all would have the same vector."""
        tokenizer = getattr(loaded(self.model), "tokenizer", None)
        before = (chosen.prompt or "").split(PLACEHOLDER)[0]
        if tokenizer is not None and len(tokenizer.ids([before], length)[0]) >= length:
            raise UserError(
                f"the prompt of {PLURALS[name]} ({chosen.source}) leaves no room for them in {length} tokens: "
                "give a shorter one, or a larger --max_length"
            )


def _texts_and_ids(inputs: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[Any] | None]:
    """Return the texts of a data loader, and their ids where every batch has them."""
    texts: list[str] = []
    ids: list[Any] = []
    for batch in inputs:
        texts += batch["text"]
        ids += batch.get("id", ())
    return texts, ids if len(ids) == len(texts) else None
