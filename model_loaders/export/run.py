"""An export from the adapter to the verified folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from common.disk import as_os_error, unwritable
from common.errors import UserError
from common.files import new_folder
from model_loaders.backbone.load import DTYPES, choose_device
from model_loaders.export.card import Extra, write_card
from model_loaders.export.facts.licences import licence_of_base
from model_loaders.export.facts.results import Score, read_scores
from model_loaders.export.facts.training import hub_data, training_of
from model_loaders.export.limits import BIDIRECTIONAL_FROM, is_bidirectional, unused_of
from model_loaders.export.request import Likeness, Lora, Request, check_dtype
from model_loaders.export.table import check_held, format_named
from model_loaders.export.verify.compare import reference_of, verify
from model_loaders.layouts.source import find_base
from model_loaders.loading import load_model, plan_loading
from model_loaders.options import LoadOptions


@dataclass(frozen=True)
class Order:
    """What a user asks for; the fields are the flags of the command.

    Attributes:
        adapter: directory or hub name.
        output: the folder to make.
        format: row of the table of formats.
        base_model: where the base LLM is now, if not where the manifest says.
        lora: ``merged`` or ``unmerged``.
        dtype: of the exported weights.
        base_name: name of the base LLM that unmerged LoRA is read with.
        device: where the model computes; ``None`` for the GPU where there is one.
        cache_dir: hub cache.
        results: scores of the adapter in mteb's layout, for the card.
        licence: of the weights, for the card.
        data_licence: of the training data, for the card.
    """

    adapter: str
    output: Path
    format: str
    base_model: str | None = None
    lora: str = "merged"
    dtype: str = "float32"
    base_name: str = ""
    device: str | None = None
    cache_dir: str | None = None
    results: Path | None = None
    licence: str = ""
    data_licence: str = ""


@dataclass(frozen=True)
class Done:
    """What was exported.

    Attributes:
        likeness: to the model.
        notes: what the user should know of the folder.
    """

    likeness: Likeness
    notes: list[str]


def export(order: Order) -> Done:
    """Load an adapter, write it in another format, and verify the folder before it takes its place.

    Raises:
        UserError: the format cannot hold the model, the folder is there already or has no room, or it does not give the
            model's vectors.
    """
    form = format_named(order.format)
    check_dtype(order.dtype)
    extra = extra_of(order)
    with new_folder(order.output) as folder:  # better an error now than after the model was loaded
        request = request_of(order)
        check_held(request)
        notes = said_of(request)
        reference = reference_of(request.model)
        with torch.no_grad(), told_if_full(order.output.parent):
            check = form.write(request, folder, notes)
        likeness = verify(request, check, folder, reference)
        write_card(request, folder, notes, likeness, with_base_licence(extra, request))
    return Done(likeness, notes)


@contextmanager
def told_if_full(parent: Path) -> Iterator[None]:
    """Turn the error of a full disk, which each library raises as a kind of its own, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = unwritable(error, [parent]) or unwritable(as_os_error(error), [parent])
        if not why:
            raise
        raise UserError(f"{why}; nothing was left: make room, or give another folder") from error


def extra_of(order: Order) -> Extra:
    """Return what the card says beside the model: scores, training, licence."""
    scores = [] if order.results is None else read_scores(order.results)
    check_own(order, scores)
    return extra_facts(Path(order.adapter), scores, order.licence, order.data_licence)


def check_own(order: Order, scores: Sequence[Score]) -> None:
    """Raise a UserError if a record says that its scores are of another model than the adapter, as it is now."""
    for encoder in {score.encoder for score in scores if score.encoder.version and score.encoder.dtype in DTYPES}:
        options = LoadOptions(cache_dir=order.cache_dir, dtype=encoder.dtype, device=order.device)
        plan = plan_loading(None, order.base_model, order.adapter, options)
        plan = replace(plan, base=replace(plan.base, revision=encoder.revision))  # of a copy in a folder it is not known
        if plan.version() not in (None, encoder.version):
            tasks = [score.task for score in scores if score.encoder == encoder]
            raise UserError(
                f"{order.results} has scores of another model than {order.adapter} is now ({tasks[0]} and what was scored with "
                f"it): evaluate it (python run_mteb.py --adapter_path {order.adapter} --output_dir NEW) and give "
                "--results NEW, or leave --results out"
            )


def extra_facts(adapter: Path, scores: Sequence[Score], licence: str, data_licence: str) -> Extra:
    """Return what the files of a run say for its card; the base LLM's licence is added when that is known."""
    return Extra(scores, training_of(adapter, data_licence), licence, data=hub_data(adapter))


def with_base_licence(extra: Extra, request: Request) -> Extra:
    """Return the facts of a card with the licence of the base LLM."""
    base = request.base
    directory = request.base_directory if request.base_directory != Path() and request.begun_on is None else None
    name = request.base_name or base.name_or_path
    return replace(extra, base_licence=licence_of_base(name, base.revision, directory))


def request_of(order: Order) -> Request:
    """Load the model that is asked for, in float32."""
    device = choose_device(order.device)
    options = LoadOptions(cache_dir=order.cache_dir, dtype="float32", device=device)
    model = load_model(None, order.base_model, order.adapter, options)
    if order.lora not in ("merged", "unmerged"):
        raise UserError(f"LoRA is merged or unmerged, not {order.lora!r}")
    base = find_base(model.base_model.name_or_path, order.cache_dir, model.base_model.revision)
    return Request(
        model=model,
        format=order.format,
        lora=cast(Lora, order.lora),
        dtype=order.dtype,
        base_name=order.base_name,
        base_directory=base.resolve(),
        device=str(device),
    )


def said_of(request: Request) -> list[str]:
    """Return the notes that do not depend on the format."""
    notes = []
    unused = unused_of(request.model)
    if unused:
        notes.append(
            f"the recipe's {', '.join(unused)} are read by this toolkit's evaluation alone: give such prompts yourself where "
            "the folder is used (encode(..., prompt=...))"
        )
    if is_bidirectional(request.model) and request.format != "onnx":
        notes.append(
            f"attention is bidirectional, which transformers reads from version {BIDIRECTIONAL_FROM} on; older ones read this "
            "model as a causal one"
        )
    if getattr(request.model.tokenizer.tokenizer, "chat_template", None):
        notes.append("the chat template was left out: other programs may put every text into it")
    return notes
