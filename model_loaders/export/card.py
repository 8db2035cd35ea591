"""The card of an exported folder, ``README.md``: what the model is, how to load it, what was verified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData

from model_loaders.embed_model import EmbedModel
from model_loaders.export.facts.eval_files import write_eval_files
from model_loaders.export.facts.results import Score, Side, model_index, table_of
from model_loaders.export.limits import prefix_of
from model_loaders.export.reader import READER, script_of
from model_loaders.export.request import Likeness, Request
from model_loaders.hub import looks_local
from model_loaders.layouts.manifest import library_versions
from model_loaders.text.prompts import ROLES, Role
from pooling import POOLINGS, TOKEN_POOLINGS

CARD = "README.md"
PLACE = "FOLDER_OR_NAME"  # in commands: where the folder is, which only its reader knows
ADAPTER = "adapter"  # this toolkit's own layout
LIBRARIES = {"merged": "transformers", ADAPTER: "peft"}  # by format; of the others the name is that of the library
# Fields of a recipe that a card tells where they differ from their default: in words.
ALSO_KEPT = {
    "pooled": "tokens that are pooled",
    "unpooled_token_ids": "ids of tokens that are not pooled",
    "text_edits": "edits of a text, before it is put into the prompt",
    "text_max_length": "tokens of the text alone, at most",
    "pieces": "prompt and text are tokenised apart",
    "truncation": "what is cut of a text that is too long",
}
OWN_USAGE = """\
```python
import model_loaders

model = model_loaders.load("FOLDER_OR_NAME")
queries = model.encode(["what is mean pooling?"], role="query")
documents = model.encode(["Mean pooling averages the token vectors."], role="document")
print(queries @ documents.T)
```

The folder is an adapter of the toolkit that trained it."""
CITATION = """\
The designs are those of this paper:

```bibtex
@misc{tang2024poolingattention,
  title = {Pooling And Attention: What Are Effective Designs For LLM-Based Embedding Models?},
  author = {Yixuan Tang and Yi Yang},
  year = {2024},
  eprint = {2409.02727},
  archivePrefix = {arXiv},
  url = {https://arxiv.org/abs/2409.02727}
}
```"""


@dataclass(frozen=True)
class Extra:
    """Facts of a card that do not come from the model.

    Attributes:
        scores: of the model, for the table and ``model-index``.
        training: a list of facts, as Markdown.
        licence: of the weights, by the hub's name, such as ``apache-2.0``; empty where nobody said it.
        base_licence: of the base LLM; empty where it is not known.
        data: hub names of the training data.
    """

    scores: Sequence[Score] = ()
    training: str = ""
    licence: str = ""
    base_licence: str = ""
    data: Sequence[str] = ()


def write_card(request: Request, folder: Path, notes: list[str], likeness: Likeness | None, extra: Extra | None = None) -> None:
    """Write ``README.md``; ``likeness`` is ``None`` for an adapter in this toolkit's own layout."""
    model, extra = request.model, extra or Extra()
    parts = [
        front_matter(request, extra),
        f"# {title(model)}",
        f"{model.design.summary}, on {base_words(request)}. Texts in, unit vectors of {model.dim} numbers out.",
        f"```\n{drawing(model)}\n```",
        f"## Use\n\n{usage(request)}{other_ways(request)}",
        f"## What is kept\n\n{kept(model)}",
    ]
    if likeness is not None:
        parts.append(f"## Verified\n\n{verified(request, likeness)}")
    parts += [section for section in (scored(model, extra.scores), trained(extra.training)) if section]
    if notes:
        parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes))
    parts += [f"## Limits\n\n{limits(request, extra)}", f"## Made with\n\n{made_with()}", f"## Citation\n\n{CITATION}"]
    write_eval_files(extra.scores, folder)
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def scored(model: EmbedModel, scores: Sequence[Score]) -> str:
    """Return the section of scores; empty without any."""
    if not scores:
        return ""
    parts = f"## Scores\n\n{table_of(scores)}\n\n{read_with(model, scores)}"
    return (
        f"{parts}\n\nAn interval is the mean of the items with 1.96 standard errors on either side. It "
        "speaks of other texts of the same kind, not of another training run. Scores without one are no mean over items."
    )


def read_with(model: EmbedModel, scores: Sequence[Score]) -> str:
    """Return with which prompts and lengths the texts of the tasks were read, as a list."""
    tasks: dict[str, list[str]] = {}
    for score in scores:
        names = tasks.setdefault(sides_in_words(model, score.sides), [])
        if score.task not in names:
            names.append(score.task)
    lines = [f"- {', '.join(names)}: {words}" for words, names in tasks.items()]
    return "The texts of the tasks were read so:\n\n" + "\n".join(lines)


def sides_in_words(model: EmbedModel, sides: Sequence[Side]) -> str:
    """Return the prompts and lengths of a task's sides, or that they are the model's own."""
    if not sides:
        return "prompts and lengths are not recorded"
    own, words = True, []
    for side in sides:
        prompt_role: Role = "document" if side.name == "document" else "query"
        length_role: Role = "query" if side.name == "query" else "document"
        own = own and (side.prompt, side.max_length) == (model.recipe.prompt(prompt_role), model.recipe.length(length_role))
        words.append(f"{side.name}: {prompt_words(side.prompt)}, at most {side.max_length} tokens")
    return "prompts and lengths above" if own else "; ".join(words)


def prompt_words(prompt: str) -> str:
    """Return a prompt for people; its line breaks and quotes are escaped."""
    return f"prompt `{json.dumps(prompt, ensure_ascii=False)}`" if prompt else "no prompt"


def trained(training: str) -> str:
    """Return the section on the training; empty where nothing is known."""
    return f"## Training\n\n{training}" if training else ""


def limits(request: Request, extra: Extra) -> str:
    """Return what a reader should not expect of the model."""
    licence = f" ({extra.base_licence})" if extra.base_licence else ", which is not known here"
    sentences = [
        f"Texts beyond {request.model.recipe.max_length} tokens lose their end.",
        "Scores with other prompts than the ones named here are not known.",
        f"What the base LLM may be used for is said by its licence{licence}; it holds for these weights too.",
    ]
    if not extra.scores:
        sentences.append("No scores were given for this card.")
    return " ".join(sentences)


def made_with() -> str:
    """Return the versions of the libraries."""
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    return f"{versions}."


def front_matter(request: Request, extra: Extra) -> str:
    """Return the YAML block that the hub reads."""
    base = base_name(request)
    tags = ["sentence-similarity", "feature-extraction", "text-embeddings", f"design:{request.model.design_name}"]
    data = ModelCardData(
        library_name=LIBRARIES.get(request.format, request.format),
        pipeline_tag="sentence-similarity",
        base_model=base or None,
        tags=tags,
        license=extra.licence or None,
        datasets=list(extra.data) or None,
        model_name=title(request.model) if extra.scores else None,
        eval_results=model_index(extra.scores) or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def title(model: EmbedModel) -> str:
    """Return the card's title."""
    return f"Text embeddings: {model.design_name} on {model.base_model.model_type}"


def base_name(request: Request) -> str:
    """Return the base LLM's name on the hub, empty where only a folder is known."""
    name = request.base_name or request.base.name_or_path
    return "" if looks_local(name) or Path(name).is_dir() else name


def base_words(request: Request) -> str:
    """Return what the base LLM is, in words."""
    base = request.base
    about = f"{base.model_type}, {base.num_layers} layers, width {base.hidden_size}"
    name = base_name(request)
    revision = f" at revision {base.revision}" if base.revision else ""
    weights = f", weights {base.weights[:16]}" if base.weights else ""
    return f"`{name}`{revision} ({about}{weights})" if name else f"a decoder ({about}{weights})"


def drawing(model: EmbedModel) -> str:
    """Return a text's way through the model, one step a line."""
    design, recipe = model.design, model.recipe
    layers = "the last layer" if design.layers == "last" else f"each of {model.base_model.num_layers} layers"
    tokens = "all tokens" if design.tokens == "all" else f"one state ({TOKEN_POOLINGS[design.tokens].words})"
    end = model.tokenizer.end_token
    prompt = "prompt + text" if recipe.query_prompt or recipe.document_prompt else "no prompt"
    if any(prefix_of(model, role) is None for role in ROLES):
        prompt = "prompt with the text in it"
    if recipe.pooled != "all":
        tokens += f" (pooled: {recipe.pooled})"
    steps = [
        f"text, edited: {', '.join(recipe.text_edits)}" if recipe.text_edits else "text",
        prompt,
        f"tokens{', then ' + end if end else ''}; at most {recipe.max_length}",
        f"{model.base_model.model_type} with {design.attention} attention",
        f"{tokens} of {layers}",
    ]
    if design.pooling != "none":
        steps.append(f"{POOLINGS[design.pooling].words} pooling")
    steps.append(f"unit vector, {model.dim} numbers")
    return "\n  -> ".join(steps)


def usage(request: Request) -> str:
    """Return code that loads the folder and encodes."""
    if request.format == ADAPTER:
        return OWN_USAGE
    if request.format == "sentence-transformers":
        return (
            "```python\nfrom sentence_transformers import SentenceTransformer\n\n"
            f'model = SentenceTransformer("FOLDER_OR_NAME"{trust_of(request)})\n'
            'queries = model.encode_query(["what is mean pooling?"])\n'
            'documents = model.encode_document(["Mean pooling averages the token vectors."])\n'
            "print(model.similarity(queries, documents))\n```\n\n"
            "`encode_query` and `encode_document` put the prompts before the texts; `encode` alone gives none."
            + own_code(request)
        )
    alone = {"onnx": "onnxruntime", "peft": "peft and transformers"}.get(request.format, "transformers alone")
    return f"With {alone}; the folder holds this script as `{READER}`:\n\n```python\n{script_of(request)}```"


def other_ways(request: Request) -> str:
    """Return how else the folder is loaded: by the toolkit, on the command line, and by way of an export."""
    if request.format == "onnx":
        return ""
    ways = []
    if request.format != ADAPTER:
        ways.append('from Python with the toolkit that trained it: `model_loaders.load("FOLDER_OR_NAME")`')
    if request.format != "peft":
        ways.append("on the command line: `pooling-attention encode FOLDER_OR_NAME texts.txt vectors.npy`")
    if request.format == ADAPTER:
        ways.append(
            "with sentence-transformers, after `pooling-attention export FOLDER_OR_NAME exported --format "
            'sentence-transformers`: `SentenceTransformer("exported"' + trust_of(request) + ")`"
        )
    return "\n\nOther ways:\n\n" + "\n".join(f"- {way}" for way in ways)


def trust_of(request: Request) -> str:
    """Return the argument that lets the code of a trainable pooling run; empty where there is none."""
    return ", trust_remote_code=True" if request.model.pooling is not None else ""


def own_code(request: Request) -> str:
    """Return a warning where the folder holds code, else nothing."""
    if request.model.pooling is None:
        return ""
    return (
        "\n\nThe pooling has weights of its own. Its code is one file in this folder, `trainable_pooling.py`, which "
        "`trust_remote_code=True` lets run: read it first. Programs that ignore it (vLLM, TEI, llama.cpp) give other vectors: "
        "do not serve this folder with them."
    )


def kept(model: EmbedModel) -> str:
    """Return the facts that decide a vector, as a list."""
    end = f"`{model.tokenizer.end_token}`" if model.tokenizer.end_token else "none"  # as code: it may look like a tag
    lines = [f"- attention: {model.design.attention}", f"- end token: {end}"]
    for role in ROLES:
        prefix = prefix_of(model, role)
        words = prompt_words(model.recipe.prompt(role) if prefix is None else prefix)
        lines.append(f"- {role}: {words}, at most {model.recipe.length(role)} tokens")
    fields = model.recipe.to_dict()
    for name, words in ALSO_KEPT.items():
        if fields.get(name):
            lines.append(f"- {words}: {named(fields[name])}")
    dimensions = f"the first {model.dim} of {model.base_model.hidden_size}" if model.recipe.dimensions else f"{model.dim}"
    lines.append(f"- dimensions: {dimensions}; scores are cosines")
    if model.trained_dimensions:
        widths = ", ".join(str(width) for width in model.trained_dimensions)
        lines.append(f"- trained to be cut to the first {widths} numbers, made unit again; other widths are in no loss")
    return "\n".join(lines)


def named(value: object) -> str:
    """Return a value of a recipe for people."""
    if isinstance(value, bool):
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def verified(request: Request, likeness: Likeness) -> str:
    """Return what was measured when the folder was made."""
    stored = "" if request.dtype == "float32" else f" and rounded to {request.dtype}"
    merged = f"LoRA was merged in float32{stored}" if request.lora == "merged" else "LoRA is not merged"
    if not request.model.has_lora:
        merged = f"The weights are those of the trained model{stored}"
    return (
        f"{merged}. This folder, read in a process without the training toolkit and computed in float32, gave the vectors of "
        f"the trained model for {likeness.texts} texts: smallest cosine {likeness.cosine:.7f}, largest difference of a number "
        f"{likeness.difference:.1e}, the same first ten documents for each query."
    )
