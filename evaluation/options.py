"""The options of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EvaluationOptions:
    """The options of `evaluate`; each may be given to it by its name.

    Attributes:
        name: of the model; by default the encoder's `system` (of published models and foreign folders), else its `design_name`.
        version: changes whenever the vectors may change; by default the encoder's `version`.
        prompts: `mteb`, `own`, `none`, or a mapping by task, type or `default` (`evaluation/encode/prompts_file.py`); None
            for the manifest's, or `mteb` (`evaluation/encode/prompt_plan.py`).
        prompt_template: `instruct`, or a text with `{prompt}` and `{text}`; None for the manifest's.
        max_length: tokens a text at most; by default the encoder's own, from its manifest.
        batch_size: texts of a forward pass at most; by default as many as the encoder's budget of tokens allows. No part of
            the revision, since vectors do not depend on it.
        batch_tokens: padded tokens of a forward pass at most; by default the encoder's own budget.
        recipe: further facts that vectors depend on, such as the dtype; part of the revision.
        show_progress: draw a bar on stderr; without it `log` gets a line every half minute.
        save_predictions: keep mteb's prediction files (`predictions/`), up to 1000 hits a query.
        save_embeddings: write the vectors of each task into this folder, or into `embeddings` of the results folder if it is
            True (`evaluation/encode/saved_vectors.py`).
        embedding_cache: a folder in which vectors are kept and shared between tasks and runs
            (`evaluation/encode/vector_store.py`); by default they are kept in the output directory until their task is
            finished, so that a run that is killed goes on.
        shard_texts: texts that are stored together, and at most encoded again after a kill; `SHARD_TEXTS` by default.
        origin: where adapter, base LLM and data were found; no part of the revision, but of the record.
    """

    name: str | None = None
    version: str | None = None
    prompts: Mapping[str, Any] | str | None = None
    prompt_template: str | None = None
    max_length: int | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    recipe: Mapping[str, Any] | None = None
    show_progress: bool = False
    save_predictions: bool = False
    save_embeddings: str | Path | bool = False
    embedding_cache: str | Path | None = None
    shard_texts: int | None = None
    origin: Mapping[str, Any] | None = None

    def embeddings_folder(self, results_folder: Path) -> Path | None:
        """Return the folder for the vectors of each task; None where they are not saved."""
        if not self.save_embeddings:
            return None
        return results_folder / "embeddings" if self.save_embeddings is True else Path(self.save_embeddings)
