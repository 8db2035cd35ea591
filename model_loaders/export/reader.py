"""The script that reads an exported folder with transformers alone, and ``embedding.json``, which it needs for that."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from common.files import write_json
from model_loaders.embed_model import EmbedModel
from model_loaders.export.limits import BIDIRECTIONAL_FROM, is_bidirectional, prefix_of
from model_loaders.export.request import Request
from model_loaders.layouts.exported import ABOUT, FORMAT, POOLING_FOLDER, TRAINED_DIMENSIONS
from model_loaders.text.prompts import ROLES

READER = "read_model.py"
# The lines of the script that turn states (batch, tokens, hidden) and a mask (batch, tokens) into vectors.
POOLING_LINES = {
    "last": "states[torch.arange(len(states)), mask.sum(dim=1) - 1]  # the end token",
    "mean": "(states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1)[:, None]",
    "weighted_mean": "(states * (mask.cumsum(1) * mask)[:, :, None]).sum(1) / (mask.cumsum(1) * mask).sum(1)[:, None]",
    "max": 'states.masked_fill(mask[:, :, None] == 0, float("-inf")).amax(dim=1)',
    "first": "states[:, 0]",
}
VERSION_CHECK = """
if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < ({numbers}):
    raise ImportError("this transformers reads a bidirectional model as a causal one: pip install -U 'transformers>={version}'")
"""
SCRIPT = '''\
import json
from pathlib import Path

import torch
{imports}
folder = Path(__file__).parent
about = json.loads((folder / "embedding.json").read_text(encoding="utf-8"))
tokenizer = AutoTokenizer.from_pretrained(folder)
{model}


@torch.inference_mode()
def encode(texts, role="document"):
    """Return unit vectors (texts, dimensions) of texts; the role says whose prompt is used: query or document."""
    side, parts = about[role], []
    for start in range(0, len(texts), 8):
        rows = [side["prompt"] + text for text in texts[start : start + 8]]
        batch = tokenizer(rows, padding=True, truncation=True, max_length=side["max_length"], return_tensors="pt")
        mask = batch["attention_mask"].to(model.device)
        output = model(input_ids=batch["input_ids"].to(model.device), attention_mask=mask{hidden})
        {states}
        vectors = {pooled}
        parts.append(torch.nn.functional.normalize(vectors[:, : about["dimensions"]], dim=-1).cpu())
    return torch.cat(parts).numpy()
'''

ONNX_SCRIPT = '''\
import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = Path(__file__).parent
about = json.loads((folder / "embedding.json").read_text(encoding="utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"))


def encode(texts, role="document"):
    """Return unit vectors (texts, dimensions) of texts; the role says whose prompt is used: query or document."""
    side, parts = about[role], []
    tokenizer.enable_truncation(side["max_length"])
    tokenizer.enable_padding()
    for start in range(0, len(texts), 8):
        rows = tokenizer.encode_batch([side["prompt"] + text for text in texts[start : start + 8]])
        ids = np.array([row.ids for row in rows], dtype=np.int64)
        mask = np.array([row.attention_mask for row in rows], dtype=np.int64)
        parts += session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
    return np.concatenate(parts)
'''


def module_at(folder: Path) -> Any:
    """Import the script of a folder."""
    spec = importlib.util.spec_from_file_location(Path(READER).stem, folder / READER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile((folder / READER).read_text(encoding="utf-8"), str(folder / READER), "exec"), vars(module))
    return module


def script_of(request: Request) -> str:
    """Return the script that reads a folder of one of the formats without sentence-transformers."""
    if request.format == "onnx":
        return ONNX_SCRIPT
    model = request.model
    imports = "from transformers import AutoModel, AutoTokenizer\n"
    load = "model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()"
    if request.format == "peft":
        imports = f"from peft import AutoPeftModelForFeatureExtraction\n{imports.replace('AutoModel, ', '')}"
        load = "model = AutoPeftModelForFeatureExtraction.from_pretrained(folder, dtype=torch.float32).eval()"
    states, pooled, hidden = "states = output.last_hidden_state.float()", POOLING_LINES.get(model.design.tokens, ""), ""
    if model.pooling is not None:
        imports += "from trainable_pooling import read_pooling  # beside this file\n"
        load += f'\npooling = read_pooling(folder / "{POOLING_FOLDER}").to(model.device)'
        states = "states = output.hidden_states  # token embeddings, layer 1, ..., the last one after the norm"
        pooled = 'pooling(states, mask, batch["input_ids"].to(model.device))'
        hidden = ", output_hidden_states=True"
    if is_bidirectional(model):
        check = VERSION_CHECK.format(numbers=BIDIRECTIONAL_FROM.replace(".", ", "), version=BIDIRECTIONAL_FROM)
        imports = f"import transformers\n{imports}{check}"
    return SCRIPT.format(imports=imports, model=load, hidden=hidden, states=states, pooled=pooled)


def about_of(model: EmbedModel) -> dict[str, Any]:
    """Return the content of ``embedding.json``: prompts and lengths for the script, design and recipe for this toolkit."""
    content: dict[str, Any] = {"format": FORMAT, "design": model.design_name, "dimensions": model.dim}
    for role in ROLES:
        content[role] = {"prompt": prefix_of(model, role), "max_length": model.recipe.length(role)}
    content["recipe"] = model.recipe.to_dict()
    content["end_token"] = model.tokenizer.end_token
    if model.trained_dimensions:
        content[TRAINED_DIMENSIONS] = list(model.trained_dimensions)
    return content


def write_about(request: Request, folder: Path) -> None:
    """Write the script and ``embedding.json``."""
    write_json(about_of(request.model), folder / ABOUT)
    (folder / READER).write_text(script_of(request), encoding="utf-8")
