"""The trainable pooling of an embedding model, in one file that needs nothing but torch (and safetensors to read it).

A folder that was exported for sentence-transformers holds a copy of this file and names ``TrainablePooling`` in its
``modules.json``. A folder that was exported for transformers alone holds one too; ``read_pooling`` is used there.

For the states X of a text and trainable latents Z::

    last_layer, multi_layer   Y = Z + attention(queries Z, keys and values X)      arXiv 2409.02727, section 3
    latent_attention          Y = X + attention(queries X, keys and values Z)      arXiv 2405.17428, section 3.2
    self_attention            Y = X + attention(queries, keys and values X)
    then                      Y = Y + W_2 (a * gelu(b)), [a, b] = W_1 norm(Y);  the vector is the mean of Y

``multi_layer`` reads one state of each layer, marked by a layer embedding. All is computed in float32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

try:
    from sentence_transformers.base.modules import Module
except ImportError:
    try:
        from sentence_transformers.models import Module  # versions before 5.4
    except ImportError:  # the folder is read with transformers alone
        Module = nn.Module

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SMALLEST = 1e-6  # a state without a larger number has no direction
BIDIRECTIONAL_FROM = (5, 2)  # version of transformers from which is_causal of a config is read
TEXTS_AT_ONCE = 4  # that the pooling computes together: the inner layer of each may take 200 MB


class Block(nn.Module):
    """Attention and a gated feed-forward, then a mean.

    Args:
        kind: ``last_layer``, ``multi_layer``, ``latent_attention`` or ``self_attention``.
        sizes: ``hidden_size``, ``heads``, ``head_dim``, ``feed_forward_multiple``; ``latents`` and ``layers`` where it has any.
    """

    def __init__(self, kind: str, sizes: dict[str, Any]) -> None:
        super().__init__()
        hidden, inner = sizes["hidden_size"], sizes["heads"] * sizes["head_dim"]
        wide = sizes["feed_forward_multiple"] * hidden
        self.kind, self.heads = kind, sizes["heads"]
        self.norm_states = nn.LayerNorm(hidden)
        if kind == "self_attention":
            self.to_qkv = nn.Linear(hidden, 3 * inner, bias=False)
        else:
            self.latents = nn.Parameter(torch.zeros(sizes["latents"], hidden))
            self.norm_latents = nn.LayerNorm(hidden)
            self.to_q = nn.Linear(hidden, inner, bias=False)
            self.to_kv = nn.Linear(hidden, 2 * inner, bias=False)
        if kind == "multi_layer":
            self.layer_embedding = nn.Embedding(sizes["layers"], hidden)
        self.to_out = nn.Linear(inner, hidden, bias=False)
        self.norm_ff = nn.LayerNorm(hidden)
        self.ff_in = nn.Linear(hidden, 2 * wide)
        self.ff_out = nn.Linear(wide, hidden)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states ``(batch, items, hidden)`` into ``(batch, hidden)``; ``mask`` ``(batch, items)`` tells the real ones."""
        states = states.float().masked_fill(mask[:, :, None] == 0, 0.0)
        if self.kind == "multi_layer":
            states = states + self.layer_embedding.weight
        normed, allowed = self.norm_states(states), mask[:, None, None, :] != 0
        if self.kind == "self_attention":
            query, key, value = self.to_qkv(normed).chunk(3, dim=-1)
            return self.mean(states + self.attend(query, key, value, allowed), mask)
        latents = self.latents.expand(states.shape[0], -1, -1)
        if self.kind == "latent_attention":
            key, value = self.to_kv(self.norm_latents(latents)).chunk(2, dim=-1)
            return self.mean(states + self.attend(self.to_q(normed), key, value, None), mask)
        key, value = self.to_kv(normed).chunk(2, dim=-1)
        read = self.attend(self.to_q(self.norm_latents(latents)), key, value, allowed)
        return self.mean(latents + read, torch.ones_like(latents[:, :, 0]))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        """Return what queries ``(batch, queries, heads * head_dim)`` read, ``(batch, queries, hidden)``."""
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        result: Tensor = self.to_out(read.transpose(1, 2).flatten(2))
        return result

    def mean(self, attended: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the items that ``mask`` keeps, after the feed-forward, whose last map comes after the mean."""
        value, gate = self.ff_in(self.norm_ff(attended)).chunk(2, dim=-1)
        weights = (mask != 0).float()[:, :, None] / (mask != 0).float().sum(dim=1)[:, None, None]
        residual = (attended * weights).sum(dim=1)
        result: Tensor = residual + self.ff_out((value * F.gelu(gate) * weights).sum(dim=1))
        return result


class StatePooling(nn.Module):
    """From the hidden states of a decoder to one vector per text.

    Args:
        kind: of the block.
        layers: ``last``, or ``all`` layers without the token embeddings.
        tokens: ``all``, or of each layer the ``last`` attended token, the ``mean`` or the ``normalised_mean`` (of states that
            were scaled to a root mean square of 1 before).
        sizes: of the block.
        unpooled_token_ids: tokens that are left out.
    """

    def __init__(
        self, kind: str, layers: str, tokens: str, sizes: dict[str, Any], unpooled_token_ids: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.layers, self.tokens, self.unpooled = layers, tokens, list(unpooled_token_ids)
        self.block = Block(kind, sizes)

    def forward(self, states: Sequence[Tensor], mask: Tensor, input_ids: Tensor) -> Tensor:
        """Pool a batch.

        Args:
            states: of all layers, the token embeddings first, each ``(batch, tokens, hidden)``; the last one after the norm.
            mask: ``(batch, tokens)``, 1 at tokens of the text.
            input_ids: ``(batch, tokens)``.

        Returns:
            ``(batch, hidden)``, not normalised.
        """
        items, item_mask = self.items(states, self.pooled(mask, input_ids))
        return self.block(items, item_mask)  # type: ignore[no-any-return]

    def pooled(self, mask: Tensor, input_ids: Tensor) -> Tensor:
        """Return which tokens are pooled; a text of which none would be left keeps all."""
        if not self.unpooled:
            return mask
        left_out = torch.isin(input_ids, torch.tensor(self.unpooled, device=input_ids.device))
        kept = mask.masked_fill(left_out, 0)
        return torch.where(kept.any(dim=1, keepdim=True), kept, mask)

    def items(self, states: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the block reads, ``(batch, items, hidden)``, and its mask."""
        if self.tokens == "all":
            return states[-1], mask
        chosen = states[1:] if self.layers == "all" else states[-1:]
        items = torch.stack([self.reduce(state.float(), mask) for state in chosen], dim=1)
        return items, torch.ones_like(items[:, :, 0])

    def reduce(self, state: Tensor, mask: Tensor) -> Tensor:
        """Return one state of a layer, ``(batch, hidden)``."""
        if self.tokens in ("mean", "normalised_mean"):
            kept = (mask != 0)[:, :, None]
            state = state.masked_fill(~kept, 0.0)
            if self.tokens == "normalised_mean":
                state = state / state.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
                state = state / state.pow(2).mean(dim=-1, keepdim=True).clamp(min=SMALLEST).sqrt()
            return state.sum(dim=1) / kept.sum(dim=1)
        if self.tokens != "last":
            raise ValueError(f"this file cannot pool {self.tokens!r}: export the adapter again")
        places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        last = ((mask != 0) * places).amax(dim=1) - 1
        return state.gather(1, last[:, None, None].expand(-1, 1, state.shape[-1]))[:, 0]


def read_pooling(folder: str | Path) -> StatePooling:
    """Read a pooling from ``config.json`` and ``model.safetensors`` of a folder."""
    from safetensors.torch import load_file

    pooling = StatePooling(**json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8")))
    pooling.block.load_state_dict({name: tensor.float() for name, tensor in load_file(Path(folder) / WEIGHTS).items()})
    return pooling.eval()


def check_transformers(config: dict[str, Any]) -> None:
    """Raise an ImportError if transformers is so old that it would read a config's bidirectional decoder as a causal one."""
    import transformers

    found = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if config.get("is_causal", True) is False and found < BIDIRECTIONAL_FROM:
        wanted = ".".join(map(str, BIDIRECTIONAL_FROM))
        raise ImportError(
            f"transformers {transformers.__version__} reads this bidirectional model as a causal one: pip install -U "
            f"'transformers>={wanted}'"
        )


class TrainablePooling(Module):  # type: ignore[misc,valid-type,unused-ignore]
    """The pooling as a module of sentence-transformers; its arguments are those of ``StatePooling``."""

    config_keys = ("kind", "layers", "tokens", "sizes", "unpooled_token_ids")

    def __init__(
        self, kind: str, layers: str, tokens: str, sizes: dict[str, Any], unpooled_token_ids: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.kind, self.layers, self.tokens, self.sizes = kind, layers, tokens, sizes
        self.unpooled_token_ids = list(unpooled_token_ids)
        self.pooling = StatePooling(kind, layers, tokens, sizes, unpooled_token_ids)

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Add ``sentence_embedding`` to the features of the transformer module."""
        if "cu_seq_lens_q" in features:
            raise ValueError("this pooling reads padded batches: load the model without unpad_inputs")
        states = features.get("all_layer_embeddings") if self.layers == "all" else (features["token_embeddings"],)
        if states is None:
            raise ValueError("this pooling reads all layers: the config of the transformer must say output_hidden_states")
        mask, ids, parts = features["attention_mask"], features["input_ids"], []
        for start in range(0, len(ids), TEXTS_AT_ONCE):
            part = slice(start, start + TEXTS_AT_ONCE)
            parts.append(self.pooling([state[part] for state in states], mask[part], ids[part]))
        features["sentence_embedding"] = torch.cat(parts)
        return features

    def get_embedding_dimension(self) -> int:
        """Return the width of the vectors."""
        return int(self.sizes["hidden_size"])

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        """Write config and weights, and this file beside the folder: sentence-transformers looks for it there."""
        from safetensors.torch import save_file

        folder = Path(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {name: getattr(self, name) for name in self.config_keys}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.pooling.block.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        shutil.copyfile(__file__, folder.parent / Path(__file__).name)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> TrainablePooling:
        """Load from a folder or hub repository; raises an ImportError as ``check_transformers`` does."""
        names = ("token", "cache_folder", "revision", "local_files_only")
        about = {name: options[name] for name in names if name in options}
        check_transformers(cls.load_config(model_name_or_path, subfolder="", config_filename=CONFIG, **about))
        config = cls.load_config(model_name_or_path, subfolder=subfolder, config_filename=CONFIG, **about)
        weights = cls.load_file_path(model_name_or_path, filename=str(Path(subfolder, WEIGHTS)), **about)
        module = cls(**config)
        from safetensors.torch import load_file

        module.pooling.block.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
        return module
