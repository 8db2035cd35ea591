"""An embedder as mteb sees it, and the revision under which its results are filed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from common.errors import UserError
from common.hashes import digest
from evaluation.encode.counts import Side, SideCounts, beginning
from evaluation.encode.encoder_facts import encoder_facts
from evaluation.encode.lazy_model import loaded
from evaluation.encode.prompt_plan import PromptPlan, SidePrompt, make_plan
from evaluation.encode.saved_vectors import EmbeddingFiles
from evaluation.encode.sharded_encoder import Encode, ShardedEncoder, TextEncoder, encode_here
from evaluation.encode.unfinished import UnfinishedShards
from evaluation.encode.vector_store import SHARD_TEXTS, ShardStore
from evaluation.progress import MODEL, Progress
from model_loaders.text.prompts import Role
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import rendered
from model_loaders.text.template import PLACEHOLDER

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata

PLURALS = {"query": "queries", "document": "documents", "text": "texts"}
ORGANISATION = "ours"  # mteb's names are organisation/model
# Increment when scoring or task construction changes: all results are then computed anew. Where vectors change, increment
# evaluation.encode.vector_store.FORMAT too, or they are taken from caches.
EVALUATION_VERSION = 4


@dataclass(frozen=True)
class ModelIdentity:
    """The name and version that results are filed under.

    Attributes:
        name: of the model, without mteb's organisation.
        version: changes whenever the vectors may change.
        recipe: further facts that vectors depend on, such as the dtype.
    """

    name: str
    version: str
    recipe: Mapping[str, Any] = field(default_factory=dict)


class MtebEncoder(AbsEncoder):  # type: ignore[misc]
    """Gives mteb's batches to a `TextEncoder`, with the side and the prompt of their task.

    Texts of tasks without sides (mteb's `prompt_type` is None) get the prompt of queries, as in the published evaluation
    and as models with `query: ` prefixes want it, and the maximum length of documents: they may be as long.

    Attributes:
        plan: chooses prompts.
        recipe: the settings beside weights and prompts that decide a vector; part of the revision and of every key.
        sides: for each task and side, the prompt, how the first text as rendered begins, and counts.
        progress: hears of every text.
        files: gets the vectors of the task that is scored; None for nowhere.
        sharded: encodes; its store and notes are those of the task that is scored.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        identity: ModelIdentity,
        *,
        plan: PromptPlan | None = None,
        max_length: int | None = None,
        encode: Encode | None = None,
        shard_texts: int = SHARD_TEXTS,
    ) -> None:
        self.model = encoder
        self.plan = plan or make_plan(encoder)
        self.max_length = max_length
        self.recipe = {"max_length": max_length, **identity.recipe}
        self._facts = {"version": identity.version, "recipe": self.recipe, "evaluation_version": EVALUATION_VERSION}
        self.sides = SideCounts()
        self.progress: Progress | None = None
        self.files: EmbeddingFiles | None = None
        vector_facts = {
            "version": identity.version,
            "recipe": dict(identity.recipe),
            "dtype": getattr(encoder, "dtype", None),
        }
        self.sharded = ShardedEncoder(encoder, vector_facts, encode or encode_here(encoder), shard_texts=shard_texts)
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"{ORGANISATION}/{identity.name.replace('/', '_')}",
                "revision": digest({**self._facts, "prompts": self.plan.settings}, digits=16),
                "similarity_fn_name": ScoringFunction.COSINE,  # the enum: mteb compares with `is`
                "embed_dim": getattr(encoder, "dim", None),
                "max_tokens": max_length,
            }
        )

    def key(self, task_metadata: TaskMetadata) -> str:
        """Hash everything that the scores of a task depend on: weights, recipe, its prompts, its data, how we score."""
        data = task_metadata.dataset
        prompts = self.plan.prompts_of(task_metadata)
        return digest({**self._facts, "prompts": prompts, "data": [data["path"], data["revision"]]}, digits=16)

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

    @contextmanager
    def scoring(
        self, task: str, store: ShardStore, unfinished: UnfinishedShards, files: EmbeddingFiles | None
    ) -> Iterator[None]:
        """Keep vectors and counts of a task inside the block; `files` are finished if it ends without an error."""
        self.sides.forget(task)
        self.files = files
        try:
            with self.sharded.keeping(store, unfinished):
                yield
            if files is not None:
                files.finish()
        finally:
            self.files = None
            if files is not None:
                files.abandon()

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **_: object,
    ) -> np.ndarray:
        """Return the vectors of all texts of a mteb data loader, `(texts, dim)` float32."""
        texts, ids = _texts_and_ids(inputs)
        role: Role = "document" if prompt_type is PromptType.document else "query"
        prompt = self.plan.choose(task_metadata, role)
        name = "text" if prompt_type is None else role
        own = getattr(self.model, "recipe", None)  # EmbedModel's, from its manifest
        max_length = self.max_length
        if max_length is None and prompt_type is None and own is not None:
            max_length = own.length("document")
        side = self.sides.side(task_metadata.name, name)
        if side is None and texts:
            side = self.sides.open(task_metadata.name, name, self._new_side(name, role, prompt, max_length, texts[0]))
        if self.progress is not None:
            self.progress.begin_call(PLURALS[name], len(texts), sum(map(len, texts)))
        began = time.monotonic()
        encoded, counts = self.sharded.encode(texts, role, prompt=prompt.text, max_length=max_length)
        if side is not None:
            side.add(encoded, counts, time.monotonic() - began)
        if self.progress is not None:
            self.progress.end_call()
        if self.files is not None:
            self.files.add(hf_subset, hf_split, name, ids, texts, encoded.vectors)
        return encoded.vectors

    def _new_side(self, name: str, role: Role, prompt: SidePrompt, max_length: int | None, first_text: str) -> Side:
        """Return the account of a task's side, without counts; refuse a prompt that leaves no room for texts."""
        own = getattr(self.model, "recipe", None)  # EmbedModel's, from its manifest
        recipe = own if isinstance(own, Recipe) else None
        length = max_length
        if not length and own is not None:
            length = own.length(role)
        if length is not None and prompt.text and (recipe is None or recipe.is_plain):  # others are checked text by text
            self._check_room(name, prompt, length)
        return Side(role, prompt.text, prompt.source, length, beginning(rendered(first_text, prompt.text or "", recipe)))

    def _check_room(self, name: str, prompt: SidePrompt, length: int) -> None:
        """Raise a UserError if the text before the placeholder fills the maximum length: all would have the same vector."""
        tokenizer = getattr(loaded(self.model), "tokenizer", None)
        before = (prompt.text or "").split(PLACEHOLDER)[0]
        if tokenizer is not None and len(tokenizer.ids([before], length)[0]) >= length:
            raise UserError(
                f"the prompt of {PLURALS[name]} ({prompt.source}) leaves no room for them in {length} tokens: "
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
