"""Tiny models and training data that tests make themselves, and the paths of data that is used where it is present."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from model_loaders import DESIGNS, LoadOptions, get_design
from model_loaders.designs import PUBLISHED_SIZES

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PARITY = SHARED / "parity"
DATA = SHARED / "data"

# Wide initial weights: what a test perturbs must move vectors far more than float noise does.
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "vocab_size": 64,
}
POOLING = {"latents": 6, "heads": 2, "head_dim": 4}
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}
# Cells whose attention is tested with the other poolings: in the slow tier alone.
SLOW_CELLS = (
    "causal_weighted_mean",
    "causal_normalised_mean",
    "causal_max",
    "causal_first",
    "causal_latent_attention",
    "bidirectional_self_attention",
)
EVERY_DESIGN = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_CELLS else name for name in DESIGNS]
WORDS = [f"word{number}" for number in range(50)]


@functools.cache
def without_network() -> tuple[str, ...]:
    """Return the words before a command that take the network from it; none where the machine does not allow that."""
    for words in (("unshare", "-n"), ("unshare", "--map-root-user", "-n")):
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return ()


def write_tokenizer(directory: Path, *, pad: str | None = "<pad>", appends_eos: bool = False) -> None:
    """Write a word-level tokenizer with BOS; ``pad`` may be another special token, or ``None``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", "<pad>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "<s> $A </s>" if appends_eos else "<s> $A"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    options = {} if pad is None else {"pad_token": pad}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", **options)
    fast.save_pretrained(str(directory))


def write_base(
    directory: Path,
    family: str = "mistral",
    *,
    seed: int = 0,
    pad: str | None = "<pad>",
    without: Collection[str] = (),
    **changes: Any,
) -> Path:
    """Write a tiny base LLM of a family, with language-model head and tokenizer, as a hub snapshot looks.

    ``without`` names sizes that the family's config must not be given.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {**SIZES, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2, **changes}
    for name in without:
        del sizes[name]
    config = AutoConfig.for_model(family, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(str(directory))
    write_tokenizer(directory, pad=pad)
    return directory


def small_sizes(design: str) -> dict[str, int]:
    """Sizes of a small pooling, those that the design's pooling has."""
    known = PUBLISHED_SIZES.get(get_design(design).pooling, {})
    return {name: size for name, size in POOLING.items() if name in known}


def new_model(design: str, base: Path, **options: Any) -> Any:
    """Make an untrained model of a design with a small pooling, and LoRA whose B is not zero."""
    from model_loaders.create import create

    about_base = {"device": "cpu", "dtype": "float32"}
    settings: dict[str, Any] = {"lora": LORA, "pooling_sizes": small_sizes(design)}
    for name, value in options.items():
        target = about_base if name in LoadOptions.__dataclass_fields__ else settings
        target[name] = value
    model = create(design, base, options=LoadOptions(**about_base), **settings)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def triplets(count: int, *, negatives: int = 1) -> list[dict[str, Any]]:
    """Make rows whose query and positive share words; deterministic."""

    def words(start: int, step: int, length: int) -> str:
        return " ".join(WORDS[(start + step * k) % len(WORDS)] for k in range(length))

    return [
        {
            "query": words(index * 7, 3, 3),
            "positive": words(index * 7, 3, 3 + index % 5) + " " + words(index, 1, 1 + index % 3),
            "negatives": [words(index * 11 + 5 * (k + 1), 1, 2 + index % 6) for k in range(negatives)],
        }
        for index in range(count)
    ]


def trained_parameters(model: Any) -> dict[str, Any]:
    """The parameters that training changes: LoRA's and the pooling's."""
    return {name: value for name, value in model.named_parameters() if "lora_" in name or name.startswith("pooling.")}
