"""The upload of a finished adapter (``--push_to_hub``), by the code of ``python -m model_loaders.push``."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from common.errors import UserError
from model_loaders.embed_model import EmbedModel
from model_loaders.export.card import ADAPTER
from model_loaders.export.request import Request
from model_loaders.export.run import extra_facts
from model_loaders.push.upload import base_of, copy_adapter, make_repository, name_in_card, print_files, send
from trainers.flags.inherited import HubArguments
from trainers.flags.train_config import TrainConfig


def repository_of(model: EmbedModel, config: TrainConfig) -> str:
    """Make the repository of a run that is to be sent, before it trains; returns its name, empty without an upload.

    Raises:
        UserError: the hub refuses the name or the token, or nobody else could load the adapter.
    """
    hub = config.hub
    if not hub.push_to_hub:
        return ""
    base_of(model.base_model.name_or_path, hub.hub_base_name or "", "--hub_base_name")
    return make_repository(name_of(config), private=hub.hub_private_repo)


def upload(model: EmbedModel, output_dir: Path, repository: str, hub: HubArguments) -> None:
    """Send a finished adapter with its card.

    Raises:
        UserError: it could not be sent; it says how to send it later.
    """
    base_name = hub.hub_base_name or ""
    request = Request(model, ADAPTER, base_name=base_name)
    extra = extra_facts(output_dir, (), hub.hub_licence or "", "")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "folder"
            copy_adapter(output_dir, folder, request, extra)
            name_in_card(folder, repository)
            print_files(folder)
            print(f"sent: {send(folder, repository, private=hub.hub_private_repo)}")
    except UserError as error:
        command = push_command(output_dir, repository, hub)
        raise UserError(f"the adapter is whole in {output_dir}, and was not sent: {error} Send it: {command}") from error


def push_command(output_dir: Path, repository: str, hub: HubArguments) -> str:
    """Return the command that sends a finished adapter."""
    words = ["python", "-m", "model_loaders.push", str(output_dir), repository]
    words += ["--base_name", hub.hub_base_name] if hub.hub_base_name else []
    words += ["--private"] if hub.hub_private_repo else []
    return shlex.join(words)


def name_of(config: TrainConfig) -> str:
    """Return the name of a run's repository, without its owner where none is given."""
    return config.hub.hub_model_id or Path(config.training.output_dir).resolve().name
