"""The order of an export: what is exported, how, and what a format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from common.errors import UserError
from model_loaders.embed_model import EmbedModel
from model_loaders.layouts.manifest import BaseModel

DTYPES = ("float32", "bfloat16", "float16")
Lora = Literal["merged", "unmerged"]


@dataclass(frozen=True)
class Request:
    """What is exported, and how.

    Attributes:
        model: in float32, not trainable. Writing a format may merge its LoRA: it is not used again after that.
        format: row of the table of formats.
        lora: ``merged`` into the base LLM's weights, or ``unmerged`` beside the base LLM's name.
        dtype: of the exported weights.
        base_name: name under which the reader of unmerged LoRA finds the base LLM.
        base_directory: the base LLM's folder here.
        device: where the reloaded model computes when the export is verified.
        begun_on: the base LLM that training began on, where the model is a checkpoint of its own and its card names that LLM.
    """

    model: EmbedModel
    format: str
    lora: Lora = "merged"
    dtype: str = "float32"
    base_name: str = ""
    base_directory: Path = Path()
    device: str = "cpu"
    begun_on: BaseModel | None = None

    @property
    def base(self) -> BaseModel:
        """The base LLM that a card names."""
        return self.begun_on or self.model.base_model


@dataclass(frozen=True)
class Check:
    """How the exported folder is read again in a process of its own.

    Attributes:
        reader: function of ``fresh_process`` that reads it.
        trust: whether code in the folder is run.
        relinked: files that are read with other content there: a local base LLM in place of its name.
    """

    reader: str
    trust: bool = False
    relinked: dict[str, str] | None = None


@dataclass(frozen=True)
class Format:
    """A kind of exported folder.

    Attributes:
        name: on the command line.
        about: one line.
        readers: programs that read it, each with how that is known: ``tried`` here, or ``documented`` by the program alone.
        refuses: the reasons why it cannot hold a model; empty where it can.
        write: writes a folder; returns how it is verified. Tells ``notes`` what the user should know.
    """

    name: str
    about: str
    readers: dict[str, str]
    refuses: Callable[[Request], list[str]]
    write: Callable[[Request, Path, list[str]], Check]


@dataclass(frozen=True)
class Likeness:
    """How near the exported folder is to the model.

    Attributes:
        cosine: the smallest of all texts and both roles.
        difference: the largest of any number of a unit vector.
        texts: vectors that were compared.
    """

    cosine: float
    difference: float
    texts: int


@dataclass(frozen=True)
class Reference:
    """The model's own vectors of the probe texts.

    Attributes:
        texts: the probes.
        queries: ``(texts, dim)``, unit.
        documents: ``(texts, dim)``, unit.
    """

    texts: list[str]
    queries: np.ndarray
    documents: np.ndarray


def check_dtype(dtype: str) -> str:
    """Return ``dtype`` if weights can be written in it, else raise a UserError."""
    if dtype not in DTYPES:
        raise UserError(f"there is no dtype {dtype!r}; choose one of: {', '.join(DTYPES)}")
    return dtype
