"""The whole way from token ids to unit vectors as an ONNX graph, with a variant whose weights are int8."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from common.files import write_json
from model_loaders.embed_model import EmbedModel
from model_loaders.export.limits import refused_model, refused_pooling, refused_recipe
from model_loaders.export.reader import module_at, write_about
from model_loaders.export.request import Check, Format, Request
from model_loaders.export.tokenizer_files import write_tokenizer
from model_loaders.export.trainable_pooling import StatePooling
from model_loaders.export.verify.probes import probe_texts
from model_loaders.export.weights import pooling_config
from model_loaders.options import quiet
from pooling import TOKEN_POOLINGS

GRAPH, SMALL_GRAPH = "onnx/model.onnx", "onnx/model_int8.onnx"
OUTPUT = "sentence_embedding"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
EXAMPLE = (3, 9)  # texts and tokens of the batch that the exporter follows
TOP = 10


class Pipeline(nn.Module):
    """Token ids and attention mask in, unit vectors out.

    Args:
        model: its LoRA must be merged.
        backbone: the merged decoder.
    """

    def __init__(self, model: EmbedModel, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.dim, self.tokens = backbone, model.dim, model.design.tokens
        self.pooling: StatePooling | None = None
        if isinstance(model.pooling, nn.Module):
            self.pooling = StatePooling(**pooling_config(model))
            self.pooling.block.load_state_dict(model.pooling.float().state_dict())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode ``(batch, tokens)`` ids, padded on the right: ``(batch, dim)``."""
        several = self.pooling is not None and self.pooling.layers == "all"
        output: Any = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False, output_hidden_states=several
        )
        if self.pooling is None:
            vectors = TOKEN_POOLINGS[self.tokens].reduce(output.last_hidden_state, attention_mask)
        else:
            states = output.hidden_states if several else (output.last_hidden_state,)
            vectors = self.pooling(states, attention_mask, input_ids)
        return F.normalize(vectors[:, : self.dim], dim=-1)


def refuses(request: Request) -> list[str]:
    """Return the reasons why a graph with a tokenizer cannot hold the model."""
    reasons = refused_recipe(request.model) + refused_pooling(request.model) + refused_model(request.model)
    if request.lora == "unmerged":
        reasons.append("it holds merged weights: leave --lora unmerged out")
    if request.dtype != "float32":
        reasons.append(f"its graph is float32, with int8 weights beside it: leave --dtype {request.dtype} out")
    return reasons


def write(request: Request, folder: Path, notes: list[str]) -> Check:
    """Write the folder; returns how it is verified.

    Raises:
        UserError: the packages of the extra ``onnx`` are not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the format onnx needs {', '.join(missing)}: pip install -e '.[onnx]'")
    model = request.model
    backbone: Any = model.backbone.merge_and_unload() if model.has_lora else model.backbone  # type: ignore[operator]
    backbone.to("cpu", torch.float32)
    write_config(backbone, folder)
    longest = max(model.recipe.length("query"), model.recipe.length("document"))
    write_tokenizer(model.tokenizer, folder, longest)
    write_about(request, folder)
    (folder / "onnx").mkdir()
    with without_log():
        write_graph(Pipeline(model, backbone).eval(), folder / GRAPH)
        write_small_graph(folder / GRAPH, folder / SMALL_GRAPH)
    notes.append(loss_of_int8(folder, probe_texts(longest)))
    return Check("reader_vectors")


@contextmanager
def without_log() -> Iterator[None]:
    """Silence warnings of the exporter and the quantiser, such as on a torchvision that is not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def write_config(backbone: Any, folder: Path) -> None:
    """Write the decoder's config, which servers read beside a graph."""
    backbone.config._name_or_path = ""
    config = backbone.config.to_dict() | {"architectures": [type(backbone).__name__], "dtype": "float32"}
    write_json({key: value for key, value in config.items() if not key.startswith("_")}, folder / "config.json")


def write_graph(pipeline: Pipeline, path: Path) -> None:
    """Write the graph with dynamic batch and length, and read its shapes back.

    Raises:
        UserError: the exporter fixed a size.
    """
    texts, tokens = EXAMPLE
    ids = torch.arange(1, texts * tokens + 1).reshape(texts, tokens) % 7 + 1
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 :] = 0
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with quiet(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            pipeline,
            (ids, mask),
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            output_names=[OUTPUT],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            verbose=False,
        )
    assert program is not None
    program.save(str(path))
    import onnx

    whole = onnx.load(str(path), load_external_data=False)
    for part in (whole.graph, *whole.functions):
        drop_traces(part.node)
    path.write_bytes(whole.SerializeToString())
    for value in whole.graph.input:
        sizes = [axis.dim_param for axis in value.type.tensor_type.shape.dim]
        if "" in sizes:
            raise UserError(f"the exporter fixed a size of {value.name} in the graph; this decoder cannot be exported to ONNX")


def drop_traces(nodes: Any) -> None:
    """Drop where in the code a node came from: the exporter writes tracebacks with paths of this machine into each."""
    for node in nodes:
        others = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(others)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                drop_traces(graph.node)


def write_small_graph(graph: Path, small: Path) -> None:
    """Write the graph with int8 weights; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(graph), str(small), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])


def loss_of_int8(folder: Path, texts: list[str]) -> str:
    """Return what int8 weights lose on the probe texts, in words: cosines, and documents that stay among the first ten."""
    import onnxruntime

    script = module_at(folder)
    exact = {role: script.encode(texts, role) for role in ("query", "document")}
    script.session = onnxruntime.InferenceSession(str(folder / SMALL_GRAPH))
    small = {role: script.encode(texts, role) for role in ("query", "document")}
    cosines = (exact["document"] * small["document"]).sum(axis=1)
    stay = []
    first = [np.argsort(-(side["query"] @ side["document"].T), axis=1)[:, :TOP] for side in (exact, small)]
    for mine, its in zip(*first, strict=True):
        stay.append(len(set(mine) & set(its)) / TOP)
    return (
        f"{SMALL_GRAPH} has int8 weights: on the probe texts its vectors have a mean cosine of {cosines.mean():.4f} with those "
        f"of {GRAPH} (smallest {cosines.min():.4f}), and {np.mean(stay):.0%} of the first ten documents of a query stay. Score "
        "it on your tasks before you use it"
    )


FORMAT = Format(
    "onnx",
    "a graph from token ids to unit vectors (onnx/model.onnx), and one with int8 weights",
    {"onnxruntime": "tried (1.32)", "TEI": "documented: its ONNX backend takes sentence_embedding as it is"},
    refuses,
    write,
)
