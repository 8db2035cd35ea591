"""The flags of a training run: plain dataclasses, one group of flags each, every field with its help text.

The inherited flags are those of ``transformers.TrainingArguments``; ``trainers/flags/inherited.py`` lists those of them that a
contrastive trainer cannot honour, and ``trainers/flags/command_line.py`` turns a command line or a YAML file into a
`TrainConfig`. Nothing here imports torch or transformers, so that ``--help`` is instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError, nearest
from common.number_check import check_positive
from model_loaders.text.named import named_recipe
from model_loaders.text.prompts import check_task_prompts, template_named
from model_loaders.text.recipe import Recipe
from trainers.flags.flag import option
from trainers.flags.inherited import HubArguments
from trainers.scoring.arguments import ScoringArguments
from triplets.arguments import DataArguments

# Located from this file, not from the working directory: the published code read ./lora.json and broke elsewhere.
DEFAULT_LORA_CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "lora.json")


@dataclass
class ModelArguments:
    """The base LLM, the adapter and the pooling."""

    model_name_or_path: str | None = option(
        None, "Base LLM: a hub name or a directory. Required, unless --peft_model_name_or_path names it."
    )
    peft_model_name_or_path: str | None = option(
        None, "Go on from this adapter (hub name or directory): its LoRA, pooling, lengths and prompts."
    )
    torch_dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Dtype of the frozen base LLM. auto: bfloat16 on a GPU that has it, else float32; float32 with --train full."
    )
    attn_implementation: str | None = option(
        None,
        "Attention kernel: sdpa, eager, flash_attention_2, ... Unset: an adapter's own; eager in bf16 on a CPU; else "
        "transformers chooses.",
    )
    cache_dir: str | None = option(None, "Folder for downloads and prepared data. Unset: the Hugging Face cache (HF_HOME).")
    load_in_4bit: bool = option(
        False, "Load the base LLM in 4 bits (NF4). Needs a GPU and bitsandbytes (pip install bitsandbytes)."
    )
    load_in_8bit: bool = option(False, "Load the base LLM in 8 bits. Needs a GPU and bitsandbytes.")
    lora_config: str | dict[str, Any] = field(
        default=DEFAULT_LORA_CONFIG,
        metadata={
            "help": "LoRA settings: a JSON file with the fields of peft.LoraConfig; in a --config also the fields "
            "themselves. Unset: configs/lora.json."
        },
    )
    train: Literal["lora", "pooling", "full"] = option(
        "lora",
        "What is trained, and the design's pooling with it: LoRA; all weights of the base LLM (full), saved as a checkpoint "
        "that is its own base; or the pooling alone on the frozen base LLM.",
    )
    last_layers: int | None = option(
        None, "--train full: only so many decoder layers, the last ones, and the norm behind them. Unset: all weights."
    )
    lora_r: int | None = option(None, "LoRA rank. Unset: the one of --lora_config (16).")
    lora_alpha: int | None = option(None, "LoRA alpha. Unset: the one of --lora_config (32).")
    lora_dropout: float | None = option(None, "LoRA dropout, 0 <= p < 1. Unset: the one of --lora_config (0.1).")
    attention_dropout: float | None = option(
        None, "Dropout of attention weights in training, 0 <= p < 1. Unset: the base LLM's own, mostly 0."
    )
    pooling_latents: int = option(768, "Trainable pooling: number of latents (latent attention: 512 unless given).")
    pooling_heads: int = option(32, "Trainable pooling: number of attention heads (latent attention: 8 unless given).")
    pooling_head_dim: int = option(
        2048, "Trainable pooling: width of one head (latent attention: 4096, self-attention: 128 unless given)."
    )
    recipe: str | None = option(
        None,
        "Saved with the adapter: how texts are read, a name in configs/recipes or a .yaml file. The flags below go before it; "
        "lengths and design are those of the run.",
    )
    query_prompt: str = option("", "Put in front of every query; saved with the adapter.")
    document_prompt: str = option("", "Put in front of every positive and negative; saved with the adapter.")
    task_prompts: str = option(
        "",
        "Saved with the adapter: the prompts of an evaluation, mteb (of each task), own (the two above) or none. "
        "Unset: own if there are any, else mteb.",
    )
    prompt_template: str = option(
        "",
        "Saved with the adapter: how an evaluation puts a task's prompt and a text together, 'instruct' or a string with "
        "{prompt} and {text}. Unset: 'PROMPT: TEXT'.",
    )
    end_token: str | None = option(
        None, "Saved with the adapter: the token that ends every text: eos, none, tokenizer (its own) or a token. Unset: eos."
    )
    pooled: Literal["all", "text", "text_and_end", "after_prompt"] | None = option(
        None,
        "Saved with the adapter: the tokens that the pooling reads: all; text, those of the text without prompt, BOS and end "
        "token; text_and_end; after_prompt, the text and all behind it. Unset: all.",
    )
    truncation: Literal["right", "text"] | None = option(
        None,
        "Saved with the adapter: what is cut of a text that is too long: the string on the right, before the end token, or "
        "the text alone. Unset: text where a prompt has words behind the text, else right.",
    )

    def __post_init__(self) -> None:
        """Check each field alone.

        Raises:
            UserError: naming the flag.
        """
        check_task_prompts(self.task_prompts)
        recipe = Recipe() if self.recipe is None else named_recipe(self.recipe).recipe
        template_named(self.prompt_template, several=not recipe.is_plain or self.truncation == "text")
        check_positive(self, "last_layers", "lora_r", "lora_alpha", "pooling_latents", "pooling_heads", "pooling_head_dim")
        if self.lora_dropout is not None and not 0.0 <= self.lora_dropout < 1.0:
            raise UserError(f"--lora_dropout must be in [0, 1), got {self.lora_dropout}")
        if self.attention_dropout is not None and not 0.0 <= self.attention_dropout < 1.0:
            raise UserError(f"--attention_dropout must be in [0, 1), got {self.attention_dropout}")


TERMS = ("query_query", "document_query", "document_document", "positive_positive")


@dataclass
class ContrastiveArguments:
    """The contrastive loss, and how it is computed."""

    loss_scale: float = option(20.0, "Scores are loss_scale x cosine, that is, 1 / temperature.")
    loss: Literal["default", "published"] = option(
        "default",
        "default: InfoNCE in which texts equal to the query or its positive are no negatives; published: the published "
        "formula to the letter, duplicates included.",
    )
    similarity_margin: float | None = option(
        None,
        "Also leave out negatives whose cosine with the query is above the positive's by more than this, as probable "
        "unlabelled positives; a negative margin leaves out close ones from below too.",
    )
    both_directions: bool = option(
        False, "Average the loss with that of each positive looking for its query among all queries."
    )
    extra_terms: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "More scores in the denominator, any of query_query, document_query, document_document, positive_positive: "
            "of a query with other queries, of a positive with all queries, others' documents or others' positives."
        },
    )
    hardness: float = option(0.0, "Raise negatives' scores by this x their cosine, without a gradient of it.")
    hardness_of: Literal["in_batch", "hard", "all"] = option(
        "in_batch", "Of which negatives --hardness raises the scores: other queries' documents, the query's own, or all."
    )
    distillation: Literal["kl", "margin_mse"] | None = option(
        None,
        "Learn a teacher's scores of a query's own documents (key 'scores' of the rows): its distribution (kl), or its margins "
        "between positive and negatives (margin_mse).",
    )
    distillation_share: float = option(1.0, "Share of --distillation in the loss, 0 < share <= 1; the rest is contrastive.")
    teacher_temperature: float = option(1.0, "The teacher's scores are divided by this (--distillation kl).")
    negatives_across_processes: bool = option(
        True, "Texts of every process are negatives for every other one. false: a query sees its own process's."
    )
    matryoshka_dims: list[int] | None = field(
        default=None,
        metadata={
            "help": "Train vectors that may be cut: the loss is summed over these widths, such as 512 256 128, each cut made "
            "unit again."
        },
    )
    matryoshka_weights: list[float] | None = field(
        default=None, metadata={"help": "Weights of --matryoshka_dims, in their order, taken as they are. Unset: 1 each."}
    )
    pooling_learning_rate: float | None = option(None, "Learning rate of the trainable pooling. Unset: --learning_rate.")
    chunk_tokens: int | Literal["auto"] | None = option(
        "auto",
        "Keep activations of at most this many tokens at once, padding included: bounds memory, the gradient stays that "
        "of the whole batch. auto: those of the whole batch if they fit, else as many as fit; none: of the whole batch.",
    )
    packing: Literal["auto", "on", "off"] = option(
        "auto",
        "auto: no padding but in attention and pooling, on a CPU where the base LLM can; on: on a GPU, too; off: padded.",
    )

    @property
    def terms(self) -> tuple[str, ...]:
        """The names in ``--extra_terms``."""
        if isinstance(self.extra_terms, str):
            return tuple(self.extra_terms.replace(",", " ").split())
        return tuple(self.extra_terms or ())

    @property
    def token_budget(self) -> int | None:
        """The number in ``--chunk_tokens``; None where it is chosen later, or there is no bound."""
        return None if self.chunk_tokens == "auto" else self.chunk_tokens

    def __post_init__(self) -> None:
        """Check each field alone.

        Raises:
            UserError: naming the flag.
        """
        check_positive(self, "loss_scale")
        if self.chunk_tokens != "auto":
            check_positive(self, "chunk_tokens")
        if self.pooling_learning_rate is not None and self.pooling_learning_rate < 0:
            raise UserError(f"--pooling_learning_rate must be 0 or more, got {self.pooling_learning_rate}")
        if self.similarity_margin is not None and not -2 <= self.similarity_margin <= 2:
            raise UserError(f"--similarity_margin is a difference of cosines, in [-2, 2], got {self.similarity_margin}")
        check_matryoshka(self.matryoshka_dims, self.matryoshka_weights)
        for term in self.terms:
            if term not in TERMS:
                raise UserError(f"--extra_terms: there is no {term!r}{nearest(term, TERMS)}; choose from {', '.join(TERMS)}")
        if len(set(self.terms)) < len(self.terms):
            raise UserError(f"--extra_terms: one of {', '.join(self.terms)} stands there twice")
        if self.hardness < 0:
            raise UserError(f"--hardness must be 0 or more, got {self.hardness}")
        check_positive(self, "teacher_temperature")
        if not 0.0 < self.distillation_share <= 1.0:
            raise UserError(f"--distillation_share must be in (0, 1], got {self.distillation_share}")


def check_matryoshka(dims: list[int] | None, weights: list[float] | None) -> None:
    """Check the widths of a Matryoshka loss and their weights.

    Raises:
        UserError: naming the flag.
    """
    if dims is None:
        if weights is not None:
            raise UserError("--matryoshka_weights are those of --matryoshka_dims: give both, or none")
        return
    if not dims or min(dims) < 1 or len(set(dims)) < len(dims):
        raise UserError(f"--matryoshka_dims are different whole numbers above 0, got {dims}")
    if weights is None:
        return
    if len(weights) != len(dims):
        raise UserError(f"--matryoshka_weights has {len(weights)} numbers for {len(dims)} --matryoshka_dims: give one for each")
    if min(weights) <= 0:
        raise UserError(f"--matryoshka_weights must be above 0, got {weights}")


@dataclass
class ObjectiveArguments:
    """What is learned, and masked next-token prediction."""

    objective: Literal["contrastive", "simcse", "mntp"] = option(
        "contrastive",
        "contrastive: queries find their positives. simcse: the same with rows of one text, which is its own positive under "
        "dropout. mntp: hidden tokens of texts are predicted from both sides, with the base LLM's language-model head.",
    )
    mask_token: str = option("_", "mntp: the token that stands for a hidden one: a token of the vocabulary, eos, or an id.")
    mask_share: float = option(0.2, "mntp: share of the tokens that are hidden, 0 < p < 1.")
    masking: Literal["bert", "all"] = option(
        "bert", "mntp: of the hidden tokens 80 % are masked, 10 % random ones, 10 % as they were (bert); or all are masked."
    )
    block_diagonal: bool = option(False, "mntp: texts joined in a row do not see each other. Needs sdpa or eager attention.")

    def __post_init__(self) -> None:
        """Check each field alone.

        Raises:
            UserError: naming the flag.
        """
        if not 0.0 < self.mask_share < 1.0:
            raise UserError(f"--mask_share must be in (0, 1), got {self.mask_share}")


@dataclass
class RunArguments:
    """The work of this command."""

    dry_run: bool = option(
        False, "Two steps on the longest batch, save, load, encode and compare; print the peak memory, leave nothing behind."
    )
    stages: str | list[dict[str, Any]] | None = field(
        default=None,
        metadata={
            "help": "Trainings one after the other, each from the weights of the one before: a YAML list of flags "
            "(docs/objectives.md). The flags here are those of every stage."
        },
    )


GROUPS: tuple[type, ...] = (ModelArguments, DataArguments, ContrastiveArguments, ObjectiveArguments)
GROUPS += (ScoringArguments, RunArguments, HubArguments)

# These come with the adapter of --peft_model_name_or_path. The published layout does not hold its number of heads, so
# --pooling_heads may be given there and is not in this list.
ADAPTER_FLAGS = ("lora_config", "lora_r", "lora_alpha", "lora_dropout", "pooling_latents", "pooling_head_dim")

# These come with it too, unless they are given.
ADAPTER_DEFAULTS = (
    "pooling_heads",
    "query_prompt",
    "document_prompt",
    "max_seq_length",
    "query_max_length",
    "task_prompts",
    "prompt_template",
    "recipe",
    "end_token",
    "pooled",
    "truncation",
)

# Mean nothing to a design without a trainable pooling.
POOLING_FLAGS = tuple(
    flag.name for flag in (*fields(ModelArguments), *fields(ContrastiveArguments)) if flag.name.startswith("pooling_")
)

# Mean nothing to another objective than mntp.
MASKING_FLAGS = ("mask_token", "mask_share", "masking", "block_diagonal")

# Mean nothing to mntp, which has no vectors and no pairs.
VECTOR_FLAGS = tuple(
    flag.name for flag in fields(ContrastiveArguments) if flag.name not in ("chunk_tokens", "packing", "pooling_learning_rate")
)
