"""The vectors of many texts in a file, made in pieces: after a kill the encoding continues with the piece that was lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import read_json_or_empty, write_json

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel
    from model_loaders.text.prompts import Role

PIECE = 2048  # texts between two notes of the progress


def stored_vectors(
    model: EmbedModel,
    texts: Sequence[str],
    role: Role,
    path: Path,
    *,
    prompt: str | None = None,
    on_piece: Callable[[int], None] = lambda texts: None,
) -> np.ndarray:
    """Return the vectors of texts ``(texts, dim)``, float32 and of unit length, mapped from a file; make it first if need be.

    Args:
        model: encodes them.
        texts: all of them; the caller names the file so that other texts, or another model, have another file.
        role: ``query`` or ``document``.
        path: of the file of vectors; the progress is noted beside it.
        prompt: instead of the recipe's.
        on_piece: called with the number of texts of each piece that is there.
    """
    note = path.with_suffix(".json")
    done = int(read_json_or_empty(note).get("texts", 0)) if path.is_file() else 0
    shape = (len(texts), model.dim)
    mode = "r+" if done else "w+"
    vectors = np.lib.format.open_memmap(path, mode=mode, dtype=np.float32, shape=shape)
    on_piece(done)
    while done < len(texts):
        piece = texts[done : done + PIECE]
        vectors[done : done + len(piece)] = model.encode(piece, role=role, prompt=prompt)
        vectors.flush()
        done += len(piece)
        write_json({"texts": done}, note)
        on_piece(len(piece))
    stored: np.ndarray = np.load(path, mmap_mode="r")
    return stored
