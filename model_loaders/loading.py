"""Make an ``EmbedModel``: from an adapter directory (ours or published), or new for training; and save it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files import read_json
from model_loaders import adapter, version
from model_loaders.backbone import add_lora, choose_device, choose_dtype, load_backbone, load_config, weights_hash
from model_loaders.designs import Design, get_design
from model_loaders.embed_model import EmbedModel, fresh_pooling
from model_loaders.hub import resolve
from model_loaders.manifest import (
    MANIFEST,
    BaseModel,
    Manifest,
    Recipe,
    check_fingerprints,
    library_versions,
    read_manifest,
)
from model_loaders.published import read_published_pooling
from model_loaders.tokenising import TextTokenizer, load_tokenizer
from pooling import PoolingConfig, build_pooling


@dataclass(frozen=True)
class Source:
    """What an adapter directory says, read and checked before the base model is touched.

    Attributes:
        directory: of the adapter.
        design_name: row of the table.
        manifest: ``None`` for the published layout.
        lora: peft's config and tensors, or ``None``.
        pooling: sizes and tensors of the trainable pooling, or ``None``.
        pooling_file: where those came from, for messages.
    """

    directory: Path
    design_name: str
    manifest: Manifest | None
    lora: tuple[dict[str, Any], dict[str, Tensor]] | None
    pooling: tuple[PoolingConfig, dict[str, Tensor]] | None
    pooling_file: Path | None


def read_source(directory: Path, design_name: str | None, num_heads: int | None) -> Source:
    """Read an adapter directory in our layout or in the published one.

    Raises:
        UserError: a file is missing, broken, not finite, or of another design.
    """
    manifest = read_manifest(directory) if (directory / MANIFEST).is_file() else None
    if manifest is None and design_name is None:
        raise UserError(
            f"{directory} has no {MANIFEST}, so it does not say its design: load it by design (for example with "
            f"model_loaders.model3, --loader model3) or convert it once: python -m model_loaders.convert {directory} OUT "
            "--design model3 --base_model BASE"
        )
    if manifest is not None and design_name not in (None, manifest.design):
        raise UserError(f"{directory} holds a {manifest.design} adapter, not {design_name}: use that loader")
    name = manifest.design if manifest is not None else str(design_name)
    design = get_design(name)
    has_lora = manifest is None or manifest.lora
    lora = None
    if has_lora:
        config = read_json(directory / adapter.LORA_CONFIG)
        lora = config, adapter.read_tensors(directory / adapter.LORA_WEIGHTS)
    pooling, file = read_pooling(directory, design, name, manifest, num_heads)
    return Source(directory, name, manifest, lora, pooling, file)


def read_pooling(
    directory: Path, design: Design, name: str, manifest: Manifest | None, num_heads: int | None
) -> tuple[tuple[PoolingConfig, dict[str, Tensor]] | None, Path | None]:
    """Read the trainable pooling's sizes, tensors and file, or ``None`` for a design without one."""
    if design.pooling == "none":
        stray = [file for file in (adapter.PUBLISHED_POOLING, adapter.POOLING_WEIGHTS) if (directory / file).exists()]
        if stray:
            raise UserError(f"{directory} holds a trainable pooling ({stray[0]}), which {name} has none of: choose its design")
        return None, None
    if manifest is None:
        config, tensors, path = read_published_pooling(directory, design, num_heads)
        return (config, tensors), path
    if manifest.pooling is None:
        raise UserError(f"{directory / MANIFEST}: {name} needs a pooling config")
    try:
        config = PoolingConfig(**manifest.pooling)
    except (TypeError, ValueError) as error:
        raise UserError(f"{directory / MANIFEST}: pooling: {error}") from error
    if num_heads not in (None, config.heads):
        raise UserError(f"{directory / MANIFEST} says {config.heads} heads; leave num_heads={num_heads} out")
    path = directory / adapter.POOLING_WEIGHTS
    return (config, adapter.read_tensors(path)), path


def open_base(base_model: str | Path, cache_dir: str | Path | None, quantisation: str = "") -> tuple[Path, BaseModel]:
    """Resolve a base model's name to its directory, and describe it."""
    directory = resolve(base_model, what="base model", cache_dir=cache_dir, needs="config.json")
    config = load_config(directory)
    local = Path(base_model).expanduser()
    return directory, BaseModel(
        name_or_path=str(local.resolve()) if local.is_dir() else str(base_model),
        model_type=config.model_type,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        revision="" if local.is_dir() else directory.name,
        weights=weights_hash(directory),
        quantisation=quantisation,
    )


def check_base(source: Source, base: BaseModel) -> None:
    """Raise a UserError if the adapter was made with another base model than ``base``."""
    if source.manifest is None:
        return
    saved = source.manifest.base_model
    for what in ("model_type", "hidden_size", "num_layers"):
        if getattr(saved, what) != getattr(base, what):
            raise UserError(
                f"the adapter {source.directory} belongs to the base model {saved.name_or_path} ({what} "
                f"{getattr(saved, what)}), not to {base.name_or_path} ({what} {getattr(base, what)})"
            )
    if saved.weights and base.weights and saved.weights != base.weights:
        raise UserError(
            f"the adapter {source.directory} was trained on {saved.name_or_path}; {base.name_or_path} is of the same sizes but "
            "has other weights (or another dtype on disk). Give the base model that it was trained on."
        )


def load_design(
    design: str | None,
    base_model: str | Path | None,
    adapter_path: str | Path,
    cache_dir: str | Path | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str | None = None,
    device: str | torch.device | None = None,
    num_heads: int | None = None,
    trainable: bool = False,
) -> EmbedModel:
    """Load an adapter directory, ours or published, on its base model; see ``model_loaders.load``."""
    plan = plan_loading(design, base_model, adapter_path, cache_dir, dtype=dtype, device=device, num_heads=num_heads)
    backbone = load_backbone(
        plan.base_directory,
        get_design(plan.source.design_name),
        dtype=plan.dtype,
        device=plan.device,
        attn_implementation=attn_implementation,
        quantisation=plan.base.quantisation or None,
    )
    model = assemble(plan.source, backbone, plan.base, plan.base_directory, trainable=trainable)
    model.pooling = cast_pooling(model.pooling, plan.device, None if trainable else plan.dtype)
    model.train(trainable)
    if plan.source.manifest is not None:
        check_fingerprints(plan.source.manifest, model.fingerprints(), model.dtype, plan.source.directory)
    return model


@dataclass(frozen=True)
class Plan:
    """What will be loaded and how, known before the base LLM's weights are read.

    Attributes:
        source: the adapter, read and checked.
        base: the base LLM.
        base_directory: where that is.
        dtype: in which the model will compute.
        device: where it will be.
    """

    source: Source
    base: BaseModel
    base_directory: Path
    dtype: torch.dtype
    device: torch.device

    def version(self, notes: Path | None = None) -> str | None:
        """Return what ``version`` of the loaded model will be; ``None`` where only loading tells (a quantised base LLM).

        Args:
            notes: as ``version.read_lora_config`` takes it.
        """
        if self.base.quantisation:
            return None
        tokenizer, recipe = tokenizer_and_recipe(self.source, self.base_directory)
        lora, tensors = None, {}
        if self.source.lora is not None:
            config, tensors[adapter.LORA_WEIGHTS] = self.source.lora
            lora = version.lora_facts(version.read_lora_config(config, notes))
        pooling = None
        if self.source.pooling is not None:
            sizes, tensors[adapter.POOLING_WEIGHTS] = self.source.pooling
            pooling = sizes.to_dict()
        name, dtype = self.source.design_name, str(self.dtype).removeprefix("torch.")
        computed = version.as_computed(tensors, self.dtype)
        return version.hash_of(name, self.base, recipe, dtype, tokenizer.digest, lora, pooling, computed)


def plan_loading(
    design: str | None,
    base_model: str | Path | None,
    adapter_path: str | Path,
    cache_dir: str | Path | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    num_heads: int | None = None,
) -> Plan:
    """Find and check what ``load_design`` would load, without the base LLM's weights."""
    directory = resolve(adapter_path, what="adapter", cache_dir=cache_dir, needs=adapter_needs(Path(adapter_path)))
    source = read_source(directory, design, num_heads)
    name = base_model or (source.manifest.base_model.name_or_path if source.manifest else None)
    if name is None:
        raise UserError(f"{directory} is in the published layout, which does not name its base model: give base_model")
    quantisation = source.manifest.base_model.quantisation if source.manifest else ""
    base_directory, base = open_base(name, cache_dir, quantisation)
    check_base(source, base)
    chosen_device = choose_device(device)
    if dtype is None and source.manifest is not None and source.manifest.dtype in ("float32", "bfloat16", "float16"):
        dtype = source.manifest.dtype
    return Plan(source, base, base_directory, choose_dtype(dtype, chosen_device), chosen_device)


def adapter_needs(path: Path) -> str:
    """Return the file that makes ``path`` an adapter directory."""
    return MANIFEST if (path / MANIFEST).is_file() else adapter.LORA_CONFIG


def assemble(source: Source, backbone: nn.Module, base: BaseModel, base_directory: Path, *, trainable: bool) -> EmbedModel:
    """Put an adapter's tensors on a loaded base model; a published adapter without tokenizer files takes the base's."""
    if source.lora is not None:
        config, tensors = source.lora
        backbone = add_lora(backbone, config, trainable=trainable)
        adapter.load_lora(backbone, tensors, source.directory / adapter.LORA_WEIGHTS)
    pooling = None
    if source.pooling is not None and source.pooling_file is not None:
        sizes, tensors = source.pooling
        pooling = build_pooling(sizes)
        adapter.check_tensors(tensors, pooling.state_dict(), source.pooling_file)
        if sizes.hidden_size != base.hidden_size or sizes.layers not in (None, base.num_layers):
            raise UserError(
                f"{source.pooling_file} pools states of width {sizes.hidden_size} (layers: {sizes.layers or 'last'}), the base "
                f"model {base.name_or_path} has width {base.hidden_size} and {base.num_layers} layers: it is another base model"
            )
        pooling.load_state_dict(tensors)
    tokenizer, recipe = tokenizer_and_recipe(source, base_directory)
    return EmbedModel(source.design_name, backbone, pooling, tokenizer, recipe, base)


def tokenizer_and_recipe(source: Source, base_directory: Path) -> tuple[TextTokenizer, Recipe]:
    """Return an adapter's tokenizer and recipe."""
    has_tokenizer = source.manifest is not None or (source.directory / "tokenizer_config.json").is_file()
    raw = load_tokenizer(source.directory if has_tokenizer else base_directory)
    recipe = source.manifest.recipe if source.manifest else published_recipe(get_design(source.design_name), raw.pad_token_id)
    return TextTokenizer(raw, recipe.unpooled_token_ids, source.manifest.end_token if source.manifest else None), recipe


def published_recipe(design: Design, pad_token_id: int | None) -> Recipe:
    """Return the recipe of the published code: no prompts, 512 tokens, and a mean that skips the pad token's id."""
    skipped = design.layers == "all" and design.tokens == "mean" and pad_token_id is not None
    return Recipe(unpooled_token_ids=(pad_token_id,) if skipped and pad_token_id is not None else ())


def cast_pooling(pooling: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Move the pooling to its device; in the compute dtype for inference, in fp32 (``None``) for training."""
    if pooling is None:
        return None
    return pooling.to(device, dtype or torch.float32).requires_grad_(dtype is None)


def create(
    design: str,
    base_model: str | Path,
    cache_dir: str | Path | None = None,
    *,
    lora: dict[str, Any] | None,
    pooling_sizes: dict[str, int] | None = None,
    recipe: Recipe | None = None,
    seed: int = 42,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str | None = None,
    device: str | torch.device | None = None,
    quantisation: str = "",
) -> EmbedModel:
    """Make a new, untrained model of a design; LoRA and pooling are initialised from ``seed`` alone.

    Args:
        design: row of the table.
        base_model: hub name or directory.
        cache_dir: hub cache.
        lora: LoRA config (``configs/lora.json``), or ``None`` for the base model as it is.
        pooling_sizes: ``latents``, ``heads``, ``head_dim``; published sizes by default.
        recipe: prompts and lengths that the model will carry.
        seed: of the initial weights.
        dtype: of the base model; LoRA and pooling are fp32.
        attn_implementation: attention kernel.
        device: ``None`` for the GPU where there is one.
        quantisation: ``4bit`` or ``8bit``.
    """
    row = get_design(design)
    directory, base = open_base(base_model, cache_dir, quantisation)
    chosen_device = choose_device(device)
    backbone = load_backbone(
        directory,
        row,
        dtype=choose_dtype(dtype, chosen_device),
        device=chosen_device,
        attn_implementation=attn_implementation,
        quantisation=quantisation or None,
    )
    with seeded(seed, chosen_device):
        if lora is not None:
            backbone = add_lora(backbone, lora, trainable=True)
        pooling = fresh_pooling(row, base, pooling_sizes or {})
    pooling = cast_pooling(pooling, chosen_device, None)
    recipe = recipe or Recipe()
    tokenizer = TextTokenizer(load_tokenizer(directory), recipe.unpooled_token_ids)
    return EmbedModel(design, backbone, pooling, tokenizer, recipe, base)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a generator of ``seed`` inside the block, and leave the global one as it was."""
    kind = "cuda" if device.type == "cpu" else device.type
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device], device_type=kind):
        torch.manual_seed(seed)
        yield


def save(model: EmbedModel, directory: Path, *, write: bool = True) -> None:
    """Write a whole adapter directory: LoRA, pooling, tokenizer, manifest with fingerprints.

    Where the parameters are sharded (FSDP2) every process must call this, and one of them writes.

    Everything is written to a directory inside it and moved out file by file, the manifest last: a directory with a
    manifest is whole.
    """
    tensors, fingerprints = trained_tensors(model), model.fingerprints()
    if not write:
        return
    stage = directory / ".partial"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    for name, content in tensors.items():
        adapter.write_tensors(content, stage / name)
    if model.has_lora:
        config = adapter.lora_config_dict(model.backbone) | {"base_model_name_or_path": model.base_model.name_or_path}
        (stage / adapter.LORA_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    model.tokenizer.save(stage)
    Manifest(
        design=model.design_name,
        base_model=model.base_model,
        pooling=None if model.pooling is None else model.pooling.config.to_dict(),
        recipe=model.recipe,
        end_token=model.tokenizer.end_token,
        dtype=model.dtype,
        fingerprints=[[round(float(value), 7) for value in row] for row in fingerprints],
        lora=model.has_lora,
        versions=library_versions(),
    ).write(stage)
    (directory / MANIFEST).unlink(missing_ok=True)
    for file in sorted(stage.iterdir(), key=lambda file: file.name == MANIFEST):
        file.replace(directory / file.name)
    stage.rmdir()


def trained_tensors(model: EmbedModel) -> dict[str, dict[str, Tensor]]:
    """Return what training changes, by file name and under the names in the files, on the CPU.

    Where the parameters are sharded (FSDP2) every process must call this.
    """
    state = {}
    if model.has_lora:
        state[adapter.LORA_WEIGHTS] = adapter.lora_tensors(model.backbone)
    if model.pooling is not None:
        state[adapter.POOLING_WEIGHTS] = {name: adapter.whole(tensor) for name, tensor in model.pooling.state_dict().items()}
    return state
