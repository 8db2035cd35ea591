"""Notes on what surprises in a run: a pooling larger than the base LLM, a rate that nobody chose, a dtype that is slow here.

Each is a rule on plain numbers, with the measurement that it rests on (docs/training.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.lines import read_text

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel

DEFAULT_RATE = 5e-5  # of transformers.TrainingArguments
SMALL_BASE = (50_000_000, 1_000_000_000)  # parameters: what was measured on one of 135 million is said of these
# Flags of /proc/cpuinfo: x86 with AVX512-BF16 or AMX, Arm with BF16.
FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Parameters:
    """How many parameters a model has, by what they belong to; ``base`` counts the base LLM's own that are trained."""

    frozen: int
    lora: int
    pooling: int
    base: int = 0

    @property
    def trained(self) -> int:
        """The number of those that are trained."""
        return self.lora + self.pooling + self.base


def parameters_of(model: EmbedModel) -> Parameters:
    """Count a model's frozen and trained parameters."""
    frozen = lora = pooling = base = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            frozen += parameter.numel()
        elif "lora_" in name:
            lora += parameter.numel()
        elif name.startswith("backbone."):
            base += parameter.numel()
    if model.pooling is not None:
        pooling = sum(parameter.numel() for parameter in model.pooling.parameters())
    return Parameters(frozen, lora, pooling, base)


def surprises(counts: Parameters, rate: float, *, fp32_on_cpu: bool) -> list[str]:
    """Return the notes on a run.

    Args:
        counts: of the model.
        rate: learning rate.
        fp32_on_cpu: whether the products are computed in float32 on a CPU.
    """
    notes = [pooling_note(counts.frozen + counts.base, counts.pooling)]
    if counts.lora:
        notes.append(rate_note(counts.frozen, rate))
    if fp32_on_cpu:
        notes.append(dtype_note(counts.frozen + counts.base, fast_bfloat16()))
    return list(filter(None, notes))


def pooling_note(base: int, pooling: int) -> str:
    """Return a note on a pooling that is larger than the base LLM; empty for another."""
    if pooling <= base:
        return ""
    return (
        f"the pooling has {pooling / 1e6:,.1f} million parameters, the base LLM {base / 1e6:,.1f} million: the default is the "
        "published size, made for 7 billion. --pooling_latents, --pooling_heads and --pooling_head_dim make it smaller"
    )


def rate_note(base: int, rate: float) -> str:
    """Return a note on a learning rate that is transformers' default, on a small base LLM; empty for another.

    The rate that a base LLM needs is not known beforehand. What is known is that nobody chose this one, and what a small base
    LLM learned with it.
    """
    if rate != DEFAULT_RATE or not SMALL_BASE[0] <= base <= SMALL_BASE[1]:
        return ""
    return (
        f"the learning rate is transformers' default, {rate:g}, which nobody chose for LoRA: SmolLM2-135M learned with 5e-4 "
        "to 1e-3 in 40 steps. Try some rates on held-out triplets (--learning_rate, --eval_dataset)"
    )


def dtype_note(base: int, flag: str) -> str:
    """Return a note that bfloat16 is faster on this CPU; empty without the instructions, or where products are small.

    Args:
        base: parameters of the base LLM.
        flag: of `fast_bfloat16`.
    """
    if not flag or base < SMALL_BASE[0]:
        return ""
    return (
        f"float32 on a CPU that has instructions for bfloat16 ({flag}): with --torch_dtype bfloat16 --bf16 a step of "
        "SmolLM2-135M took 5.5 s instead of 9.9 on such a CPU"
    )


def fast_bfloat16(facts: Path = CPU_FACTS) -> str:
    """Return the flag of this CPU that says that it multiplies bfloat16 natively; empty for none, or where it is not known."""
    try:
        text = read_text(facts)
    except OSError:  # no Linux
        return ""
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            known = flags.split()
            return next((flag for flag in FAST_BFLOAT16 if flag in known), "")
    return ""
