"""Make the folder that goes to the hub, and send it in one commit: all of it is there afterwards, or nothing new."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from glob import escape
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session, validate_repo_id

from common.errors import UserError
from common.files import first_line, read_json, write_json
from common.words import gigabytes
from model_loaders.backbone.base_files import CONFIG
from model_loaders.export.card import ADAPTER, CARD, PLACE, Extra, write_card
from model_loaders.export.request import Request
from model_loaders.export.run import Order, export, extra_of, request_of, with_base_licence
from model_loaders.hub import looks_local
from model_loaders.layouts.manifest import MANIFEST, read_manifest
from model_loaders.layouts.tensors import BASE_WEIGHTS, LORA_CONFIG, LORA_WEIGHTS, POOLING_WEIGHTS
from model_loaders.push.earlier import TITLE, left_behind

# Of an adapter's folder these go to the hub: not checkpoints, logs and flags, which name places of the trainer's machine.
SENT = (MANIFEST, LORA_CONFIG, LORA_WEIGHTS, POOLING_WEIGHTS, "tokenizer*", "special_tokens_map.json")
SENT_OF_BASE = (CONFIG, BASE_WEIGHTS)  # of a checkpoint that is its own base
ANSWER_SECONDS = 30.0  # in which a hub must answer a request without content


def push(args: argparse.Namespace) -> None:
    """Make the folder, print it, and send it unless it is a dry run.

    Raises:
        UserError: the name is none, the folder cannot be made, or the hub refuses.
    """
    check_name(args.name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "folder"
        order = order_of(args, folder)
        if args.format == ADAPTER:
            check_adapter(Path(order.adapter))
            extra = extra_of(order)
            request = request_of(order)  # loads it: what goes out is whole, and gives the vectors that it gave
            copy_adapter(Path(order.adapter), folder, request, extra)
        else:
            for note in export(order).notes:
                print(f"note: {note}")
        name_in_card(folder, args.name)
        print_files(folder)
        if args.dry_run:
            print((folder / CARD).read_text(encoding="utf-8"))
            print("dry run: nothing was sent")
            return
        print(f"sent: {send(folder, args.name, private=args.private)}")


def check_name(name: str) -> None:
    """Raise a UserError unless ``name`` can be that of a repository."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{name!r} is no name of a repository (OWNER/NAME): {first_line(error)}") from error


def check_adapter(adapter: Path) -> None:
    """Raise a UserError unless a folder holds an adapter of this toolkit."""
    if not (adapter / MANIFEST).is_file():
        raise UserError(f"{adapter} has no {MANIFEST}: give an adapter of this toolkit, or --format to export another folder")


def order_of(args: argparse.Namespace, folder: Path) -> Order:
    """Return the order of the export."""
    values = vars(args) | {"output": folder}
    return Order(**{field.name: values[field.name] for field in fields(Order)})


def copy_adapter(adapter: Path, folder: Path, request: Request, extra: Extra) -> None:
    """Copy the files of an adapter that belong on the hub, without paths of this machine, and write its card.

    Args:
        adapter: its folder.
        folder: to make.
        request: the adapter's model, and the base LLM's name on the hub.
        extra: facts for the card.

    Raises:
        UserError: its base LLM is a folder of this machine.
    """
    manifest = read_json(adapter / MANIFEST)
    key = "base_model" if manifest.get("begun_on") is None else "begun_on"
    base = base_of(manifest[key]["name_or_path"], request.base_name)
    folder.mkdir()
    for pattern in SENT if key == "base_model" else (*SENT, *SENT_OF_BASE):
        for path in adapter.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    manifest[key]["name_or_path"], manifest["base_relative"] = base, ""
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if (folder / LORA_CONFIG).is_file():
        write_json(read_json(adapter / LORA_CONFIG) | {"base_model_name_or_path": base}, folder / LORA_CONFIG)
    request = replace(request, base_name=base, begun_on=read_manifest(adapter).begun_on)
    write_card(request, folder, [], None, with_base_licence(extra, request))


def base_of(name: str, base_name: str, flag: str = "--base_name") -> str:
    """Return the name by which others find the base LLM.

    Args:
        name: as the adapter has it.
        base_name: as the user gives it; empty where not.
        flag: by which the user gives it.

    Raises:
        UserError: it is a folder of this machine, and no name was given.
    """
    if not base_name and (looks_local(name) or Path(name).expanduser().is_dir()):
        raise UserError(
            "the adapter names its base model by a folder of this machine, which nobody else has: give its name on the hub "
            f"({flag} OWNER/NAME), or send a folder that holds all weights (python -m model_loaders.push … --format "
            "sentence-transformers)"
        )
    return base_name or name


def name_in_card(folder: Path, name: str) -> None:
    """Put a repository's name into the commands of a card."""
    card = folder / CARD
    card.write_text(re.sub(rf"\b{PLACE}\b", lambda _: name, card.read_text(encoding="utf-8")), encoding="utf-8")


def print_files(folder: Path) -> None:
    """Print the files of a folder with their sizes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            print(f"  {path.relative_to(folder).as_posix():45}{gigabytes(path.stat().st_size):>12}")


def make_repository(name: str, *, private: bool) -> str:
    """Make a repository unless it is there; returns its whole name.

    Raises:
        UserError: the name is none, the hub refuses it or the token, or cannot be reached; or it is to be private, and is
            there and public.
    """
    check_name(name)
    with told(name):
        check_answers()
        name = str(HfApi().create_repo(name, private=private, exist_ok=True, repo_type="model").repo_id)
        public = private and not HfApi().model_info(name).private
    if public:
        raise UserError(
            f"{name} is there already, and public: nothing was sent. Make it private in its settings on the hub, give another "
            "name, or do not ask for a private one"
        )
    return name


def check_answers() -> None:
    """Ask the hub for anything: its client waits for ever for a server that takes the connection and says nothing.

    Raises:
        HTTPError: it does not answer in time.
        OfflineModeIsEnabled: the client may not ask.
    """
    get_session().head(constants.ENDPOINT, timeout=ANSWER_SECONDS, follow_redirects=False)  # of any status


def send(folder: Path, name: str, *, private: bool) -> str:
    """Send a folder in one commit, and return its address. The commit removes what an earlier push left.

    Raises:
        UserError: the hub refuses the token or the repository, or the connection breaks; or files of another origin would be
            read with these.
    """
    name = make_repository(name, private=private)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    with told(name):
        old = left_behind(name, files)
        gone = [escape(file) for file in old] or None
        commit = HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message=TITLE, delete_patterns=gone)
    if old:
        print(f"removed, of an earlier push: {', '.join(old)}")
    return str(commit.commit_url)


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what the hub's client raises inside the block into a UserError that says what to do."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set, so nothing is sent; unset it, or look with --dry_run") from error
    except HfHubHTTPError as error:
        raise UserError(refusal(error, name)) from error
    except (HTTPError, OSError, RuntimeError) as error:
        raise UserError(
            f"the connection to the hub {constants.ENDPOINT} broke ({first_line(error)}): the repository {name} is as it was, "
            "since all files come with one commit. Give the same command again; what was uploaded already is not sent twice."
        ) from error


def refusal(error: HfHubHTTPError, name: str) -> str:
    """Return why the hub refused, and what to do."""
    status = getattr(error.response, "status_code", None)
    if status == 401:
        return "the hub refuses the token: log in with `hf auth login`, or set HF_TOKEN to one that may write"
    if status == 403:
        return f"the token may not write to {name}: take one with write access, or a name of your own"
    return f"the hub refused {name}: {first_line(error)}"
