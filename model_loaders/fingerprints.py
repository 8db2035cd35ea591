"""Fingerprints: the vectors of a few texts, by which loading sees that an adapter computes what it did when it was saved.

They are computed as the loader will compute (``as_loaded``): it casts LoRA and pooling to the dtype of the base LLM, which in
training are fp32. Two correct computations of one model differ still: another kernel, device or batch rounds otherwise, and
a large language model amplifies that. How much is measured on the model itself (``rounding_noise``) and kept in the manifest:
3e-3 for the last token's state of a real LLM in bf16 and 1e-4 for a trainable pooling over its layers, as differences of a
cosine from 1; in fp32 it lies below what fp32 vectors can show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from model_loaders.backbone.states import decoder_layers
from model_loaders.layouts.manifest import MANIFEST, Manifest, library_versions

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel

# All of these are differences of a cosine from 1.
FLOOR = 1e-4  # allowed in any dtype: fp32 on another device, with other libraries
OLD_FLOOR, OLD_FLOOR_OTHER_DTYPE = 1e-3, 1e-2  # of manifests without a measured noise: the limits they were saved under
CEILING = 0.1  # never allowed, however noisy the model is: a lost pooling or another base LLM is farther away
FACTOR = 4.0  # times the noise: two computations have an error each, and the noise is known from few draws and texts
SAMPLES = 2
# Spacing of numbers around 1 below which rounding moves no vector by what an fp32 vector can show, let alone by FLOOR.
FINE = 1e-6


@contextmanager
def as_loaded(model: EmbedModel) -> Iterator[None]:
    """Hold LoRA and pooling inside the block as the loader does for inference: in the dtype of the base LLM.

    On the way out the very tensors of before are back, so that an optimizer goes on with them. Sharded parameters (FSDP2) are
    rounded to that dtype in place instead, and computed with in their own.
    """
    before: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for parameter, dtype in loaded_dtypes(model):
            if parameter.dtype == dtype:
                continue
            if hasattr(parameter, "to_local"):
                local: Tensor = parameter.to_local().detach()
                before.append((parameter, local.clone()))
                local.copy_(local.to(dtype))
            else:
                before.append((parameter, parameter.data))
                parameter.data = parameter.data.to(dtype)
        yield
    finally:
        for parameter, tensor in before:
            if hasattr(parameter, "to_local"):
                parameter.to_local().detach().copy_(tensor)
            else:
                parameter.data = tensor


def loaded_dtypes(model: EmbedModel) -> Iterator[tuple[nn.Parameter, torch.dtype]]:
    """Yield each parameter of LoRA and pooling with its dtype in a model that is loaded for inference."""
    if model.has_lora:
        from peft.tuners.lora.layer import LoraLayer

        for layer in model.backbone.modules():
            if not isinstance(layer, LoraLayer):
                continue
            base: Any = layer.get_base_layer()  # type: ignore[operator]
            weight = getattr(base, getattr(layer, "parameter_name", None) or "weight")  # of experts, a tensor with a name
            for name, parameter in layer.named_parameters():  # type: ignore[attr-defined]
                if "lora_" in name and weight.dtype.is_floating_point:  # LoRA on a quantised weight stays in fp32
                    yield parameter, weight.dtype
    compute: Any = model.backbone.dtype
    for parameter in model.pooling.parameters() if model.pooling is not None else ():
        yield parameter, compute


@contextmanager
def without_lora(model: EmbedModel) -> Iterator[None]:
    """Switch LoRA off inside the block; peft would ask for gradients afterwards, where there were none."""
    asked = {parameter: parameter.requires_grad for parameter in model.backbone.parameters()}
    try:
        with model.backbone.disable_adapter():  # type: ignore[operator]
            yield
    finally:
        for parameter, value in asked.items():
            parameter.requires_grad_(value)


def farthest(some: np.ndarray, others: np.ndarray) -> float:
    """Return the largest ``1 - cosine`` of two ``(probes, dim)`` arrays of unit vectors, row by row; NaN where there is one."""
    return float((1.0 - (some.astype(np.float64) * others.astype(np.float64)).sum(axis=1)).max())


def lora_effect(model: EmbedModel, vectors: np.ndarray) -> float:
    """Return how far LoRA moves the probe texts' ``vectors``, as a difference of a cosine from 1; 0 where no bit changes."""
    if not model.has_lora:
        return 0.0
    with without_lora(model):
        plain = model.fingerprints()
    return 0.0 if np.array_equal(vectors, plain) else farthest(vectors, plain)


def rounding_noise(model: EmbedModel, vectors: np.ndarray, epsilon: float | None = None) -> float:
    """Measure how far rounding moves the probe texts' vectors.

    Monte Carlo arithmetic (Parker, 1997): what each layer, each linear map and the pooling reads is multiplied by
    ``1 + epsilon u``, ``u`` uniform in [-1, 1], which is the size of the rounding that another kernel would do otherwise.

    Args:
        model: whose rounding.
        vectors: of the probe texts, ``(probes, dim)``, as the model gives them.
        epsilon: of the dtype that rounds; ``None`` for the model's own.

    Returns:
        The largest ``1 - cosine`` of a probe text in ``SAMPLES`` draws; 0 for fp32.
    """
    epsilon = epsilon_of(model) if epsilon is None else epsilon
    if epsilon < FINE:
        return 0.0
    found = []
    for seed in range(SAMPLES):
        with jittered(model, epsilon, seed):
            found.append(farthest(vectors, model.fingerprints()))
    return max(0.0, *found)


def epsilon_of(model: EmbedModel) -> float:
    """Return the spacing of numbers around 1 in the dtype that the model computes in."""
    dtype: Any = model.backbone.dtype
    return float(torch.finfo(dtype).eps)


@contextmanager
def jittered(model: EmbedModel, epsilon: float, seed: int) -> Iterator[None]:
    """Multiply what is read by layers, linear maps and the pooling by ``1 + epsilon u`` inside the block."""
    generator = torch.Generator(model.device).manual_seed(seed)

    def moved(states: Tensor) -> Tensor:
        draw = torch.rand(states.shape, generator=generator, device=states.device)
        return (states.float() * (1.0 + epsilon * (2.0 * draw - 1.0))).to(states.dtype)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (moved(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": moved(kwargs["hidden_states"])}

    linear = [module for module in model.backbone.modules() if isinstance(module, nn.Linear)]
    pooling = [] if model.pooling is None else [model.pooling]
    with ExitStack() as stack:
        for module in [*decoder_layers(model.backbone), *linear, *pooling]:
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def check_fingerprints(manifest: Manifest, model: EmbedModel, directory: Path) -> None:
    """Compare the probe texts' vectors with those that were saved.

    What is allowed is ``FACTOR`` times the rounding noise: the manifest's, which the right model had; where the loaded model
    rounds more coarsely than the saved one, or the manifest is an older one, the loaded model's.

    Args:
        manifest: of the adapter.
        model: that was loaded.
        directory: for messages.

    Raises:
        UserError: the vectors differ by more than that, or LoRA, which moved them when it was saved, does nothing now.
    """
    with as_loaded(model):
        vectors = model.fingerprints()
        probes, dim = vectors.shape
        if [len(row) for row in manifest.fingerprints] != [dim] * probes:
            raise UserError(f"{directory / MANIFEST}: fingerprints must be {probes} vectors of {dim} numbers")
        off = farthest(np.asarray(manifest.fingerprints, dtype=np.float32), vectors)
        floor = floor_of(manifest, model)
        if off <= floor:
            return
        noise = noise_of(manifest, model, vectors) if off <= CEILING else manifest.noise or 0.0
        allowed = min(max(floor, FACTOR * noise), CEILING)
        saved_effect = off if manifest.lora_effect is None else manifest.lora_effect
        if model.has_lora and saved_effect > floor and lora_effect(model, vectors) == 0.0:
            raise UserError(
                f"LoRA of the adapter {directory} does nothing: the probe texts have the base model's own vectors. When it was "
                f"saved it moved them (cosine with what they are now: {1 - off:.4f}). Its tensors are those of an untrained "
                "adapter: take a fresh copy of the directory, or train it again."
            )
    if not off <= allowed:  # also true for NaN
        raise UserError(changed(manifest, model, directory, off, allowed))


def floor_of(manifest: Manifest, model: EmbedModel) -> float:
    """Return what is allowed without looking at the noise."""
    if manifest.noise is not None:
        return FLOOR
    return OLD_FLOOR if model.dtype == manifest.dtype else OLD_FLOOR_OTHER_DTYPE


def noise_of(manifest: Manifest, model: EmbedModel, vectors: np.ndarray) -> float:
    """Return the rounding noise between a saved model and the loaded one."""
    saved = getattr(torch, manifest.dtype, None)
    saved_epsilon = float(torch.finfo(saved).eps) if isinstance(saved, torch.dtype) else 0.0  # of a quantised base: unknown
    own = epsilon_of(model)
    if manifest.noise is not None and (saved_epsilon >= own or manifest.dtype == model.dtype):
        return manifest.noise
    return rounding_noise(model, vectors, max(own, saved_epsilon))


def changed(manifest: Manifest, model: EmbedModel, directory: Path, off: float, allowed: float) -> str:
    """Say that an adapter's vectors are others than it had, and what to do."""
    now = library_versions()
    versions = [f"{name} {old} -> {now.get(name)}" for name, old in manifest.versions.items() if now.get(name) != old]
    then = f"{manifest.dtype}{f' with {manifest.attn_implementation}' if manifest.attn_implementation else ''}"
    return (
        f"the adapter {directory} does not give the vectors that it gave when it was saved: cosine {1 - off:.4f} on the "
        f"probe texts, at least {1 - allowed:.4f} expected, which is what rounding explains ({then} then, {model.dtype} with "
        f"{model.attn_implementation} now). A file was changed, the base model is another one, or a library behaves "
        f"differently (versions: {', '.join(versions) or 'the same'}). Take a fresh copy of the directory, and give the base "
        f"model that it was trained on ({manifest.base_model.name_or_path})."
    )
