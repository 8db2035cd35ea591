"""Read what a study file declared before scores existed, and tell which choices of a comparison were planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.build import build
from common.errors import UserError
from common.json_text import json_fault, parse_json
from common.lines import read_bytes
from comparison.errors import ComparisonError

FILE = "declared_plan.json"
FORMAT = 1
MARGIN = 0.01  # where a study file names none


@dataclass(frozen=True)
class Declaration:
    """What a study file declared at one time.

    Attributes:
        date: in UTC.
        study_file: its name.
        sha256: of its content.
        cells_with_scores: cells of the study that had scores by then; 0 makes it a plan.
        baseline: what the others are compared with; None for all pairs.
        margin: differences within it count as none, in score units.
        families: hash of the user's file of families; None without one.
        unrelated: whether tasks in no map were declared to be unrelated.
        same_revision: whether tasks of different revisions were to be left out.
    """

    date: str
    study_file: str
    sha256: str
    cells_with_scores: int
    baseline: str | None = None
    margin: float = MARGIN
    families: str | None = None
    unrelated: bool = False
    same_revision: bool = False

    @property
    def choices(self) -> dict[str, object]:
        """The choices of a comparison, in words."""
        return {
            "baseline": self.baseline or "all pairs",
            "margin": f"{100 * self.margin:g} point{'' if self.margin == 0.01 else 's'}",
            "file of families": (self.families or "none")[:8],
            "--unrelated": self.unrelated,
            "--same_revision": self.same_revision,
        }


def read_declarations(folder: Path) -> list[Declaration]:
    """Return what a study declared, the oldest first; nothing for studies that were run before plans were kept.

    Raises:
        ComparisonError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        content = parse_json(read_bytes(path))
        entries = content["declarations"]
        declarations = []
        for entry in entries:
            known = {key: value for key, value in entry.items() if value is not None}
            declarations.append(build(Declaration, known, str(path)))
    except UserError as error:
        raise ComparisonError(str(error)) from error
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} is damaged ({json_fault(error)}); put back a copy, or remove it") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ComparisonError(f"{path} is damaged (no list of declarations); put back a copy, or remove it") from error
    return declarations


def planned(declarations: Sequence[Declaration], used: Declaration) -> str:
    """Say which choices were declared before scores existed, and which were not.

    Args:
        declarations: of the study, the oldest first.
        used: what this comparison uses.
    """
    before = [declaration for declaration in declarations if not declaration.cells_with_scores]
    if not before:
        return (
            "No plan was kept before scores existed, so nobody can see whether baseline, margin and families were chosen after."
        )
    plan = before[-1]
    kept, changed = [], []
    for name, value in used.choices.items():
        if plan.choices[name] == value:
            kept.append(f"{name} {value}")
        else:
            changed.append(f"{name} {value} (planned: {plan.choices[name]})")
    file = f"{plan.study_file} (SHA-256 {plan.sha256[:12]})"
    sentence = f"Planned, by {file} on {plan.date}, before a score existed: {', '.join(kept)}."
    if changed:
        sentence += f" Not planned: {', '.join(changed)}."
    later = len(declarations) - len(before)
    if later:
        times = "once" if later == 1 else f"{later} times"
        sentence += f" The study file changed {times} after scores existed; its last hash is {declarations[-1].sha256[:12]}."
    return sentence
