"""What a training run can be told: plain dataclasses, one group of flags each, every field with its help text.

The inherited flags are ``transformers.TrainingArguments``' own; ``trainers/flags/inherited.py`` says which of them a
contrastive trainer can honour, and ``trainers/flags/command_line.py`` turns a command line or a YAML file into a `TrainConfig`.
Nothing here imports torch or transformers, so that ``--help`` is instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from common.checks import check_positive
from common.errors import UserError
from model_loaders.text.prompts import check_task_prompts, template_named
from triplets.arguments import DataArguments

# Located from this file, not from the working directory: the published code read ./lora.json and broke elsewhere.
DEFAULT_LORA_CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "lora.json")


@dataclass
class ModelArguments:
    """The base LLM, the adapter and the pooling."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Base LLM: a hub name or a directory. Required, unless --peft_model_name_or_path names it."},
    )
    peft_model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Go on from this adapter (hub name or directory): its LoRA, pooling, lengths and prompts."},
    )
    torch_dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto",
        metadata={"help": "Dtype of the frozen base LLM. auto: bfloat16 on a GPU that has it, else float32."},
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "help": "Attention kernel: sdpa, eager, flash_attention_2, ... Unset: an adapter's own; eager in bf16 on a "
            "CPU; else transformers chooses."
        },
    )
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder for downloads and prepared data. Unset: the Hugging Face cache (HF_HOME)."},
    )
    load_in_4bit: bool = field(
        default=False,
        metadata={"help": "Load the base LLM in 4 bits (NF4). Needs a GPU and bitsandbytes (pip install bitsandbytes)."},
    )
    load_in_8bit: bool = field(
        default=False,
        metadata={"help": "Load the base LLM in 8 bits. Needs a GPU and bitsandbytes."},
    )
    lora_config: str | dict[str, Any] = field(
        default=DEFAULT_LORA_CONFIG,
        metadata={"help": "LoRA settings: a JSON file with the fields of peft.LoraConfig; in a --config also the fields "
                          "themselves. Unset: configs/lora.json."},
    )  # fmt: skip
    lora_r: int | None = field(default=None, metadata={"help": "LoRA rank. Unset: what --lora_config says (16)."})
    lora_alpha: int | None = field(default=None, metadata={"help": "LoRA alpha. Unset: what --lora_config says (32)."})
    lora_dropout: float | None = field(
        default=None, metadata={"help": "LoRA dropout, 0 <= p < 1. Unset: what --lora_config says (0.1)."}
    )
    pooling_latents: int = field(default=768, metadata={"help": "Trainable pooling: number of latents, its trainable queries."})
    pooling_heads: int = field(default=32, metadata={"help": "Trainable pooling: number of attention heads."})
    pooling_head_dim: int = field(default=2048, metadata={"help": "Trainable pooling: width of one head."})
    query_prompt: str = field(default="", metadata={"help": "Put in front of every query; saved with the adapter."})
    document_prompt: str = field(
        default="", metadata={"help": "Put in front of every positive and negative; saved with the adapter."}
    )
    task_prompts: str = field(
        default="",
        metadata={"help": "Saved with the adapter: which prompts an evaluation gives, mteb (of each task), own (the two "
                          "above) or none. Unset: own if there are any, else mteb."},
    )  # fmt: skip
    prompt_template: str = field(
        default="",
        metadata={"help": "Saved with the adapter: how an evaluation puts a task's prompt and a text together, 'instruct' or a "
                          "string with {prompt} and {text}. Unset: 'PROMPT: TEXT'."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check what does not depend on the machine.

        Raises:
            UserError: naming the flags.
        """
        if self.load_in_4bit and self.load_in_8bit:
            raise UserError("--load_in_4bit and --load_in_8bit exclude each other: give one of them")
        check_task_prompts(self.task_prompts)
        template_named(self.prompt_template)
        check_positive(self, "lora_r", "lora_alpha", "pooling_latents", "pooling_heads", "pooling_head_dim")
        if self.lora_dropout is not None and not 0.0 <= self.lora_dropout < 1.0:
            raise UserError(f"--lora_dropout must be in [0, 1), got {self.lora_dropout}")


@dataclass
class ContrastiveArguments:
    """The contrastive loss, and how it is computed."""

    loss_scale: float = field(default=20.0, metadata={"help": "Scores are loss_scale x cosine, that is, 1 / temperature."})
    loss: Literal["default", "published"] = field(
        default="default",
        metadata={"help": "default: InfoNCE in which texts equal to the query or its positive are no negatives; "
                          "published: the published formula to the letter, duplicates included."},
    )  # fmt: skip
    similarity_margin: float | None = field(
        default=None,
        metadata={"help": "Also leave out negatives whose cosine with the query is above the positive's by more than this, as "
                          "probable unlabelled positives; a negative margin leaves out close ones from below too."},
    )  # fmt: skip
    both_directions: bool = field(
        default=False,
        metadata={"help": "Average the loss with that of each positive looking for its query among all queries."},
    )
    negatives_across_processes: bool = field(
        default=True,
        metadata={"help": "Texts of every process are negatives for every other one. false: a query sees its own process's."},
    )
    pooling_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of the trainable pooling. Unset: --learning_rate."}
    )
    chunk_tokens: int | None = field(
        default=None,
        metadata={"help": "Keep activations of at most this many tokens at once, padding included: bounds memory, the "
                          "gradient stays that of the whole batch. Unset: those of the whole batch."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the signs.

        Raises:
            UserError: naming the flag.
        """
        check_positive(self, "loss_scale", "chunk_tokens")
        if self.pooling_learning_rate is not None and self.pooling_learning_rate < 0:
            raise UserError(f"--pooling_learning_rate must be 0 or more, got {self.pooling_learning_rate}")
        if self.loss == "published" and (self.similarity_margin is not None or self.both_directions):
            raise UserError("--loss published is the published formula to the letter, without --similarity_margin and "
                            "--both_directions: leave those out, or use --loss default")  # fmt: skip
        if self.similarity_margin is not None and not -2 <= self.similarity_margin <= 2:
            raise UserError(f"--similarity_margin is a difference of cosines, in [-2, 2], got {self.similarity_margin}")


@dataclass
class RunArguments:
    """What the command does."""

    dry_run: bool = field(
        default=False,
        metadata={"help": "Two steps on the longest batch, save, load, encode and compare; say the peak memory, leave "
                          "nothing behind."},
    )  # fmt: skip


GROUPS: tuple[type, ...] = (ModelArguments, DataArguments, ContrastiveArguments, RunArguments)

# With --peft_model_name_or_path these come with the adapter. The published layout does not say its number of heads,
# so --pooling_heads stays a question there and is not in this list.
FROM_THE_ADAPTER = ("lora_config", "lora_r", "lora_alpha", "lora_dropout", "pooling_latents", "pooling_head_dim")

# These come with it too, unless they are given.
FROM_THE_ADAPTER_UNLESS_GIVEN = ("pooling_heads", "query_prompt", "document_prompt", "max_seq_length", "query_max_length",
                                 "task_prompts", "prompt_template")  # fmt: skip

# Mean nothing to a design without a trainable pooling.
OF_THE_POOLING = tuple(
    flag.name for flag in (*fields(ModelArguments), *fields(ContrastiveArguments)) if flag.name.startswith("pooling_")
)

# Mean nothing without --eval_dataset.
OF_THE_EVALUATION = ("eval_delay", "eval_dataset_split", "per_device_eval_batch_size")
