"""Report on training data, before a run or from one: counts, lengths, repetitions, overlap, and how often rows are seen.

::

    python trainers/check_data.py --dataset_name triplets.jsonl --against eval/STS12 eval/STS13
    python trainers/check_data.py --dataset_config mix.yaml --model_name_or_path BASE --seen_after 1000 2epochs
    python trainers/check_data.py --run runs/model3

It takes the whole command line of a training run, ``--config`` too: flags that decide the batches count, the others do nothing
here. A training of several stages (``stages:``) is reported stage by stage. It reports and does not judge: rows that are
invalid and files that are damaged are reported, and the others are
read. The exit status is 0, unless training would stop at such data (1) or the arguments are wrong (2).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import UserError
from common.files import write_json
from trainers.data_check.arguments import CheckArguments
from trainers.flags import help_text
from trainers.flags.flag import flags_of
from triplets.arguments import DataArguments


def main(argv: Sequence[str] | None = None) -> int:
    """Check the data; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words or "--help" in words:
        print(usage())
        return 0
    from trainers.data_check.report import as_text, data_report, parse_checks  # after --help: imports torch and transformers

    try:
        checks = parse_checks(words)
    except UserError as error:
        print(f"check_data.py: error: {error}", file=sys.stderr)
        return 2
    reports = []
    try:
        for number, check in enumerate(checks, start=1):
            reports.append(data_report(check))
            heading = f"Stage {number} of {len(checks)}\n\n" if len(checks) > 1 else ""
            end = "\n\n" if number < len(checks) else "\n"
            print(heading + as_text(reports[-1]), end=end, flush=True)
        output = checks[0].own.json
        if output is not None:
            write_json(reports[0] if len(reports) == 1 else {"stages": reports}, Path(output))
    except KeyboardInterrupt:
        return 130
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    problems = [problem for report in reports for problem in report["problems"]]
    for problem in dict.fromkeys(problems):  # stages may share data
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def usage() -> str:
    """Return the help text."""
    lines = [str(__doc__).strip()]
    for group in (CheckArguments, DataArguments):
        lines += ["", str(group.__doc__).strip(), *help_text.table(flags_of(group).values())]
    lines += ["", "All flags of the trainers are taken as well (trainers/train.py --help)."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
