"""Readers of adapters, of base LLMs and of the files of a training run."""

from __future__ import annotations

import functools
import io
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import save

from common.errors import UserError
from model_loaders import LoadOptions, load
from model_loaders.backbone.base_files import weights_hash
from model_loaders.create import create
from model_loaders.layouts.manifest import read_manifest
from model_loaders.layouts.tensors import read_pickled_tensors, read_tensors
from model_loaders.saving import save as save_adapter
from tests.cases.fuzz.documents import Pairs, encoded, json_text, same
from tests.cases.fuzz.mutations import Draw, Files, mutated_bytes, mutated_value
from tests.cases.fuzz.reader import Reader
from tests.cases.fuzz.triplet_readers import odd_yaml
from tests.tiny import LORA, POOLING, new_model, write_base
from trainers.checkpoints.seal import damage, sha256_of
from trainers.flags.arguments import ModelArguments
from trainers.flags.lora import lora_options
from trainers.flags.resolve import resolve

CPU = LoadOptions(device="cpu", dtype="float32")
DTYPES = {"F32": (torch.float32, 4), "F16": (torch.float16, 2), "BF16": (torch.bfloat16, 2), "F64": (torch.float64, 8)}


@functools.cache
def place() -> Path:
    """Return a folder with a tiny base LLM and an adapter on it."""
    logging.disable(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    write_base(folder / "base", hidden_size=16, intermediate_size=24, num_hidden_layers=2)
    model = new_model("model3", folder / "base", pooling_sizes={**POOLING, "feed_forward_multiple": 1})
    save_adapter(model, folder / "adapter")
    logging.disable(logging.NOTSET)
    return folder


def files_of(name: str, *only: str) -> Files:
    """Return the files of a folder, all or some of them."""
    return {path.name: path.read_bytes() for path in (place() / name).iterdir() if not only or path.name in only}


def check_manifest(folder: Path, value: Any) -> None:
    """Each field is that of the file."""
    content = json.loads((folder / "embedder.json").read_text("utf-8-sig"))
    for key in content.keys() - {"base_model", "recipe"}:
        assert same(getattr(value, key), content[key]), key
    for key, member in content["recipe"].items():
        assert same(getattr(value.recipe, key), member), key


def check_adapter(folder: Path, value: Any) -> None:
    """An adapter that loads gives finite vectors of unit length; that they are its own is a part of loading."""
    vectors = value.encode(["word1 word2", "", "word3 " * 700])
    assert abs((vectors**2).sum(axis=1) - 1).max() < 1e-3


def safetensors_file() -> Files:
    """Return a small file of tensors."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16), "c.weight": torch.zeros(1, 2)}
    return {"model.safetensors": save(tensors, {"format": "pt"})}


def odd_safetensors(draw: Draw, content: bytes) -> bytes:
    """Return a file of tensors with another header, of the right length or not, or with changed bytes."""
    size = int.from_bytes(content[:8], "little")
    if draw(st.integers(0, 2)) == 0 or size > len(content):
        return mutated_bytes(draw, content)
    header = encoded(json_text(mutated_value(draw, json.loads(content[8 : 8 + size]))))
    stated = draw(st.sampled_from((len(header), len(header), len(header), 0, 1, size, 2**31, 2**63, 2**64 - 1)))
    return int(stated).to_bytes(8, "little") + header + content[8 + size :]


def check_tensors(folder: Path, value: Any) -> None:
    """Each tensor has the bytes that the header says."""
    content = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size], object_pairs_hook=Pairs)
    entries = {key: dict(entry) for key, entry in header if key != "__metadata__"}
    assert value.keys() == entries.keys()
    for key, entry in entries.items():
        start, end = entry["data_offsets"]
        dtype, width = DTYPES[entry["dtype"]]
        data = content[8 + size + start : 8 + size + end]
        assert len(data) == end - start and value[key].numel() * width == len(data)
        stated = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.zeros(0, dtype=dtype)
        assert torch.equal(value[key].flatten(), stated) and list(value[key].shape) == entry["shape"]


def pickled() -> Files:
    """Return a pooling as the published code wrote it."""
    stream = io.BytesIO()
    torch.save({"latents": torch.ones(2, 4), "pos_emb.weight": torch.zeros(3, 4)}, stream)
    return {"attn_pool.pt": stream.getvalue()}


def check_pickled(folder: Path, value: Any) -> None:
    """Tensors are dense and finite."""
    assert value and all(bool(torch.isfinite(tensor).all()) for tensor in value.values())


LORA_CONFIG = {
    **LORA,
    "target_modules": ["q_proj", "v_proj"],
    "rank_pattern": {"q_proj": 2},
    "use_rslora": False,
    "bias": "none",
}


def read_lora(folder: Path) -> Any:
    """Read a LoRA config as a training does, and put it on a base LLM."""
    options = lora_options(ModelArguments(lora_config=str(folder / "lora.json")))
    return options, create("model1", place() / "base", lora=options, options=CPU)


def check_lora(folder: Path, value: Any) -> None:
    """LoRA's rank is that of the file, and it is put on something."""
    options, model = value
    assert same(options, json.loads((folder / "lora.json").read_text("utf-8-sig")))
    config = model.backbone.peft_config["default"]
    assert config.r == options.get("r", 8)
    assert sum(parameter.requires_grad for parameter in model.backbone.parameters()) > 0
    vectors = model.encode(["word1"])
    assert abs((vectors**2).sum() - 1) < 1e-3


def flags_file() -> Files:
    """Return a file of flags."""
    content = {
        "design": "model1",
        "model_name_or_path": "quickstart/base",
        "dataset_name": "train.jsonl",
        "output_dir": "runs/out",
        "learning_rate": 1.0e-4,
        "per_device_train_batch_size": 8,
        "max_steps": 10,
        "lora_config": "configs/lora.json",
        "report_to": ["none"],
        "seed": 3,
        "gradient_checkpointing": True,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
    }
    return {"flags.yaml": yaml.safe_dump(content).encode(), "train.jsonl": b'{"query": "a", "positive": "b"}\n'}


def read_flags(folder: Path) -> Any:
    """Read a file of flags as a training does."""
    given = ["--config", str(folder / "flags.yaml"), "--output_dir", str(folder / "out"), "--use_cpu", "true"]
    given += ["--dataset_name", str(folder / "train.jsonl")]
    try:
        return resolve(given, None, needs_data=True)
    finally:
        torch.set_num_threads(1)


def check_flags(folder: Path, value: Any) -> None:
    """Numbers are those of the file."""
    content = yaml.safe_load((folder / "flags.yaml").read_text("utf-8-sig"))
    for key in ("learning_rate", "max_steps", "seed"):
        if content.get(key) is not None:
            assert float(getattr(value.training, key)) == float(content[key])


def checkpoint() -> Files:
    """Return a checkpoint's seal and one file of it."""
    entries = {"weights": {"bytes": 3, "sha256": sha256_of_bytes(b"abc")}}
    content = {"format": 1, "step": 3, "processes": 1, "data": "x", "seen": {}, "sums": {}, "start": 0, "files": entries}
    return {"checkpoint.json": json.dumps(content).encode(), "weights": b"abc"}


def sha256_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        return sha256_of(path)


def check_seal(folder: Path, value: Any) -> None:
    """A checkpoint without damage has the file that was written."""
    assert value is None or len(value) > 10
    if value is None:
        files = json.loads((folder / "checkpoint.json").read_text("utf-8-sig"))["files"]
        assert all(sha256_of(folder / name) == entry["sha256"] for name, entry in files.items())


def hash_of(folder: Path) -> str:
    """Return the hash of a base LLM's weights."""
    return weights_hash(folder)


def read_base(folder: Path) -> Any:
    """Load a base LLM."""
    return create("model1", folder, lora=LORA, options=CPU)


def load_adapter(folder: Path) -> Any:
    """Load an adapter on its base LLM, wherever the manifest says that this is."""
    if not (folder / "embedder.json").is_file():
        raise UserError("the folder has no manifest: it is loaded by design")
    return load(folder, place() / "base", device="cpu")


TENSORS = {".safetensors": odd_safetensors}
READERS = [
    Reader("manifest", lambda: files_of("adapter", "embedder.json"), read_manifest, check_manifest),
    Reader("adapter folder", lambda: files_of("adapter"), load_adapter, check_adapter, TENSORS, weight=0.7),
    Reader("safetensors", safetensors_file, lambda folder: read_tensors(folder / "model.safetensors"), check_tensors, TENSORS),
    Reader("hash of a base LLM", safetensors_file, hash_of, lambda _, value: None, TENSORS),
    Reader("attn_pool.pt", pickled, lambda folder: read_pickled_tensors(folder / "attn_pool.pt"), check_pickled),
    Reader("LoRA config", lambda: {"lora.json": json.dumps(LORA_CONFIG).encode()}, read_lora, check_lora, weight=0.7),
    Reader("base LLM", lambda: files_of("base"), read_base, check_adapter, TENSORS, weight=0.7),
    Reader("file of flags", flags_file, read_flags, check_flags, {".yaml": odd_yaml}, weight=0.5),
    Reader("seal of a checkpoint", checkpoint, damage, check_seal),
]
