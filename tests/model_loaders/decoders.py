"""Tiny bases of the decoder families that transformers has, and what of each is not supported, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW = 6  # shorter than the tests' texts
WINDOWED = {"sliding_window": WINDOW}
ROTARY = {"rotary_dim": 8}
NO_SDPA = r"transformers has no sdpa for it: leave attn_implementation out, or give 'eager'"
HALF_WAY = r"wants bidirectional attention, but on an unpadded batch the first token does not see the last one.*does not honour"
RECURRENT = r"which no mask makes bidirectional. Take a causal design"
EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
FOUR = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4)
# Latent attention: every head has keys and values of its own, of another width than the hidden size over the heads.
LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Decoder:
    """A family.

    Attributes:
        changes: of its config.
        without: sizes that its config does not know.
        left_out: weight matrices that the default LoRA leaves out, by name, with their number.
        refused: reasons by ``kernel``, by ``attention`` or by ``kernel attention``.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def reason(self, kernel: str, attention: str) -> str | None:
        """Return why this family is refused, as a regular expression; ``None`` if it is not."""
        for way in (f"{kernel} {attention}", kernel, attention):
            if way in self.refused:
                return self.refused[way]
        return None


ROUTER = {"gate.weight": 3}
DECODERS: dict[str, Decoder] = {
    "mistral": Decoder(WINDOWED),
    "llama": Decoder(),
    "qwen2": Decoder(),
    "qwen3": Decoder(),
    "gemma": Decoder(),
    "gemma2": Decoder(WINDOWED, refused={"sdpa": NO_SDPA}),
    "gemma3_text": Decoder(WINDOWED),
    "phi": Decoder(),
    "phi3": Decoder(WINDOWED),
    "falcon": Decoder(without=("head_dim",)),
    "gpt2": Decoder(),
    "gpt_neo": Decoder(
        {"attention_types": [[["global", "local"], 2]], "num_layers": 4, "window_size": WINDOW},
        ("num_hidden_layers",),
        refused={"sdpa": NO_SDPA, "bidirectional": HALF_WAY},
    ),
    "gpt_neox": Decoder(),
    "gptj": Decoder(ROTARY, refused={"sdpa": NO_SDPA}),
    "opt": Decoder({"word_embed_proj_dim": 32}),
    "bloom": Decoder(refused={"sdpa": NO_SDPA}),
    "stablelm": Decoder(refused={"sdpa bidirectional": HALF_WAY}),
    "olmo": Decoder(),
    "olmo2": Decoder(),
    "olmo3": Decoder(WINDOWED),
    "cohere": Decoder(),
    "cohere2": Decoder(WINDOWED),
    "starcoder2": Decoder(WINDOWED),
    "granite": Decoder(),
    "smollm3": Decoder(),
    "glm": Decoder(),
    "glm4": Decoder(),
    "nemotron": Decoder(refused={"sdpa bidirectional": HALF_WAY}),
    "persimmon": Decoder(),
    "mpt": Decoder(refused={"sdpa": NO_SDPA, "bidirectional": r"'mpt' model with bidirectional attention .* cannot run"}),
    "codegen": Decoder(ROTARY, refused={"sdpa": NO_SDPA}),
    "exaone4": Decoder(WINDOWED),
    "ernie4_5": Decoder(),
    "helium": Decoder(),
    "arcee": Decoder(),
    "seed_oss": Decoder(),
    "apertus": Decoder(),
    "gpt_bigcode": Decoder(),
    "mixtral": Decoder(FOUR | WINDOWED, left_out=ROUTER),
    "qwen2_moe": Decoder(FOUR | EXPERTS | {"shared_expert_intermediate_size": 24}, left_out=ROUTER),
    "qwen3_moe": Decoder(FOUR | EXPERTS, left_out=ROUTER),
    "gpt_oss": Decoder(FOUR | EXPERTS | WINDOWED, left_out={"router.weight": 3}, refused={"sdpa": NO_SDPA}),
    "deepseek_v3": Decoder(FOUR | EXPERTS | LATENT, left_out={"gate.weight": 2}),
    "olmoe": Decoder(FOUR | EXPERTS, left_out=ROUTER),
    "glm4_moe": Decoder(
        FOUR | EXPERTS | {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}, left_out={"gate.weight": 2}
    ),
    "granitemoe": Decoder(FOUR | EXPERTS, left_out={"router.weight": 3}),
    "lfm2": Decoder(
        {"layer_types": ["conv", "full_attention", "conv"]}, left_out={"conv.weight": 2}, refused={"bidirectional": RECURRENT}
    ),
    "qwen3_next": Decoder(
        FOUR | EXPERTS | {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
        left_out=ROUTER | {"conv1d.weight": 2},
        refused={"bidirectional": RECURRENT},
    ),
    "mamba": Decoder(
        left_out={"mixer.A_log": 3, "conv1d.weight": 3, "dt_proj": 3, "out_proj": 3},
        refused={"sdpa": NO_SDPA, "bidirectional": RECURRENT, "sdpa bidirectional": RECURRENT},
    ),
}
