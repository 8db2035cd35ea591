"""The command line of `run_mteb.py` and `run_mteb_retrieval.py`. Heavy imports wait until the arguments are right."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from common.disk import check_writable, not_writable
from common.errors import UserError, nearest
from evaluation.encode.rank import Place, ProcessLost, first_process, launched
from evaluation.results.record import taken_from_record
from evaluation.stopping import Terminated, leave_signals_to_the_first_process, sigterm_stops
from model_loaders import DESIGNS, get_design, load_design
from model_loaders.text.prompts import TASK_PROMPTS, template_named

FAILED, USAGE, STOPPED, TERMINATED = 1, 2, 130, 143
GO_ON = "What is finished is kept: the same command goes on after it"


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations; an unknown flag is an error that names the nearest one."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2; of several processes the first one speaks."""
        self.exit(USAGE, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n" if first_process() else None)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse all arguments or leave with status 2."""
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            self.error(f"unknown argument {flag!r}{nearest(flag, self._option_string_actions)}")
        return parsed


def parser(description: str, defaults: dict[str, Any]) -> Parser:
    """Return the parser; `defaults` are the constants at the top of a script, by flag."""
    made = Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    flag = made.add_argument
    flag("--adapter_path", help="adapter: a directory or a hub name, in our layout or in the published one")
    flag("--base_model", help="base LLM: a directory or a hub name (default: the one that the adapter's manifest names)")
    flag("--loader", metavar="DESIGN", help=f"design of a published adapter: {', '.join(DESIGNS)} (default: the manifest's)")
    flag("--num_heads", type=_positive, help="heads of a published adapter's pooling, which its files do not say (default 32)")
    flag(
        "--output_dir",
        default="runs/mteb",
        help="where results go (default: %(default)s); results that are there are not computed again",
    )
    flag("--tasks", nargs="+", metavar="TASK", help="names of task folders, of mteb's tasks, of its "
         "benchmarks ('MTEB(eng, v2)'), of the paper's lists (paper, paper/STS) (default: all of --data_dir; "
         "without it the paper's)")  # fmt: skip
    flag("--list", nargs="?", const="", metavar="PATTERN", help="show what there is to score, and do nothing else: folders of "
         "--data_dir, lists, benchmarks; with a part of a name or type also mteb's tasks")  # fmt: skip
    flag("--data_dir", help="folder of task folders (see evaluation/tasks/schemas.py)")
    flag("--prompts", metavar="FILE|mteb|own|none", help="which prompts: a YAML file by task, type or 'default' (see "
         "evaluation/encode/prompts_file.py) before the others; mteb's of each task; the adapter's own; none (default: what "
         "the adapter's "
         "manifest says: own if it was trained with any, else mteb)")  # fmt: skip
    flag("--prompt_template", metavar="TEMPLATE", help="how a task's prompt and a text go together: 'instruct' ('Instruct: "
         "{prompt}\\nQuery: {text}') or such a string (default: the manifest's, else 'PROMPT: TEXT')")  # fmt: skip
    flag("--max_length", type=_length, help="tokens a text at most (default: the manifest's)")
    flag("--batch_tokens", type=_positive, help="padded tokens of a forward pass at most (default: as fits the device)")
    flag("--batch_size", type=_positive, help="texts of a forward pass at most (default: no limit but that of tokens)")
    flag("--embedding_cache", metavar="DIR", help="keep vectors there for other tasks and runs, texts x dim x 4 bytes "
         "(default: in the output directory until their task is finished, so that a killed run goes on)")  # fmt: skip
    flag("--shard_texts", type=_positive, help="texts whose vectors are written together (default: 4096): so many at most are "
         "encoded again after a kill; an --embedding_cache finds vectors again only with the same number")  # fmt: skip
    flag("--dtype", choices=["float32", "bfloat16", "float16"], help="of the base LLM (default: the manifest's)")
    flag("--attn_implementation", help="eager, sdpa, flash_attention_2, … (default: the adapter's own)")
    flag("--device", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)")
    flag("--cache_dir", help="cache of the hub for base LLM and adapter")
    flag("--name", help="name of the model in the results (default: its design)")
    flag("--save_embeddings", nargs="?", const=True, metavar="DIR", help="write the vectors of each task, to be looked at, "
         "into DIR (default: embeddings in the results folder; see evaluation/encode/saved_vectors.py)")  # fmt: skip
    flag("--save_predictions", action="store_true", help="keep mteb's prediction files, up to 1000 hits a query")
    flag("--rerun", metavar="RECORD", help="score the task of a record (recipes/TASK.json of a results folder) again with "
         "exactly its settings, and say how the scores differ; writes nothing")  # fmt: skip
    made.set_defaults(**{key: value for key, value in defaults.items() if value is not None})
    return made


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _length(text: str) -> int:
    if _positive(text) < 2:
        raise argparse.ArgumentTypeError(f"it must be at least 2, a token of the text and the end token, not {text}")
    return int(text)


def main(
    description: str,
    *,
    loader: Callable[..., Any],
    paper_tasks: Sequence[str],
    types: Collection[str] | None = None,
    defaults: dict[str, Any] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Score one adapter and print a table.

    Args:
        description: the script's docstring.
        loader: makes the model from `base_model`, `adapter_path` and options; `--loader` goes before it.
        paper_tasks: names of mteb's tasks that are scored when neither tasks nor a data folder are given.
        types: mteb's names of the types to keep; None for all.
        defaults: the constants at the top of the script, by flag.
        arguments: the command line; None for `sys.argv`.

    Returns:
        0 if all tasks were scored, 1 if one failed, 2 if the arguments are wrong, 130 if stopped by the keyboard, 143 by
        SIGTERM.
    """
    made = parser(description, defaults or {})
    args = made.parse(arguments)
    try:
        if args.list is not None:
            from evaluation.tasks.listing import listing

            print(listing(args.list, args.data_dir, types))
            return 0
        with sigterm_stops(), taken_from_record(args, defaults or {}):
            if not args.adapter_path:
                raise UserError("give the adapter with --adapter_path, or as ADAPTER_PATH at the top of the script")
            return _run(args, loader, paper_tasks, types, launched())
    except (UserError, OSError) as error:
        if first_process():
            made.error(str(error) if isinstance(error, UserError) else f"{error}. {GO_ON}")
        return USAGE
    except (KeyboardInterrupt, ProcessLost) as error:
        if first_process():
            print(f"\n{_why(error)}. {GO_ON}.", file=sys.stderr)
        return TERMINATED if isinstance(error, Terminated) else STOPPED if isinstance(error, KeyboardInterrupt) else FAILED


def _why(stop: BaseException) -> str:
    """Say why a run was stopped; a launcher sends SIGTERM to all processes when one has ended."""
    hint = ", as launchers do when another process has ended: see their report" if "WORLD_SIZE" in os.environ else ""
    return f"{stop}{hint}" if isinstance(stop, Terminated) else str(stop) or "Stopped"


def _run(
    args: argparse.Namespace,
    loader: Callable[..., Any],
    paper_tasks: Sequence[str],
    types: Collection[str] | None,
    place: Place,
) -> int:
    """Score; or, in a process that is not the first of several, encode for it."""
    if place.size == 1:
        return _score(args, *_prepare(args, loader, paper_tasks, types, place), None)

    from evaluation.encode.distributed import Processes
    from evaluation.encode.sharded_encoder import encode_here

    trouble, prepared = None, None
    with nullcontext() if place.first else _silence():
        try:
            prepared = _prepare(args, loader, paper_tasks, types, place)
        except UserError as error:
            trouble = str(error)
        model = prepared[0] if prepared else None
        processes = Processes(place, encode_here(model, batch_tokens=args.batch_tokens, batch_size=args.batch_size))
        processes.agree(getattr(model, "version", None), trouble)
        assert prepared is not None
        if not place.first:
            processes.serve()
            return 0
    try:
        return _score(args, *prepared, processes)
    finally:
        processes.close()


@contextmanager
def _silence() -> Iterator[None]:
    """Leave talking and signals to the first process; an error that ends this one is still shown."""
    leave_signals_to_the_first_process()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _prepare(
    args: argparse.Namespace,
    loader: Callable[..., Any],
    paper_tasks: Sequence[str],
    types: Collection[str] | None,
    place: Place,
) -> tuple[Any, list[Any], dict[str, Any]]:
    """Load the model; in the first process also find the tasks and read the prompts, before the model takes its time.

    Raises:
        UserError: anything is wrong with what the user gave.
    """
    if args.loader:
        get_design(args.loader)
        loader = partial(load_design, args.loader)
    args.device = place.device(args.device)

    from evaluation.encode.lazy_model import open_adapter

    places = {"base_model": args.base_model, "adapter_path": args.adapter_path}
    if not place.first:
        return open_adapter(loader, None, **places, **_options(args)), [], {}
    if not (Path(args.output_dir) / "results").is_dir():  # those that are there are shown though none can be added
        check_writable(Path(args.output_dir))
    for name in ("save_embeddings", "embedding_cache"):
        if isinstance(getattr(args, name), str):
            check_writable(Path(getattr(args, name)), f"--{name}")

    template = None
    if args.prompt_template is not None:  # shells hand on \n as two characters
        template = template_named(args.prompt_template.replace("\\n", "\n"))

    from evaluation.encode.prompts_file import read_prompts
    from evaluation.rerun import origin
    from evaluation.tasks.availability import check_rows
    from evaluation.tasks.find import find_tasks, prompt_keys
    from model_loaders.backbone.load import choose_device

    if isinstance(args.tasks, str):
        raise UserError(f"TASKS must be a list of names, such as [{args.tasks!r}]")
    names = args.tasks or ([] if args.data_dir else paper_tasks)
    tasks = check_rows(find_tasks(names, args.data_dir, types, say), say)
    prompts = args.prompts
    if prompts is not None and prompts not in TASK_PROMPTS:
        prompts = read_prompts(Path(prompts), prompt_keys(tasks, args.data_dir))
    if args.device is not None:
        choose_device(args.device)
    opened = open_adapter(loader, Path(args.output_dir), **places, **_options(args))
    return opened, tasks, {"origin": origin(args, loader), "prompts": prompts, "prompt_template": template}


def _score(args: argparse.Namespace, model: Any, tasks: list[Any], settings: dict[str, Any], processes: Any) -> int:
    from evaluation.evaluate import evaluate
    from evaluation.rerun import again
    from evaluation.results.score_table import table, write_csv

    if args.rerun:
        return again(args, model, tasks[0], processes=processes)

    evaluation = evaluate(
        model,
        tasks,
        args.output_dir,
        name=args.name,
        **settings,
        max_length=args.max_length,
        batch_size=args.batch_size,
        batch_tokens=args.batch_tokens,
        show_progress=sys.stderr.isatty(),
        save_predictions=args.save_predictions,
        save_embeddings=args.save_embeddings or False,
        embedding_cache=args.embedding_cache,
        shard_texts=args.shard_texts,
        processes=processes,
        log=say,
    )
    print(table(evaluation), flush=True)
    if why := not_writable(Path(args.output_dir)):
        say(f"scores.csv is left as it was: {why}")
    else:
        write_csv(evaluation)
    return FAILED if evaluation.failures else 0


def say(line: str) -> None:
    """Tell the user how far it is."""
    print(line, file=sys.stderr, flush=True)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("cache_dir", "dtype", "attn_implementation", "device", "num_heads")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
