"""The table of formats: every kind of folder that a model is exported to."""

from __future__ import annotations

from common.errors import UserError, nearest
from model_loaders.export import merged_format, onnx_format, peft_format, st_format
from model_loaders.export.request import Format, Request

MODULES = (st_format, merged_format, onnx_format, peft_format)
FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in MODULES}


def format_named(name: str) -> Format:
    """Return a format of the table.

    Raises:
        UserError: there is none of that name.
    """
    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}{nearest(name, FORMATS)}; the formats are: {', '.join(FORMATS)}")
    return FORMATS[name]


def check_held(request: Request) -> None:
    """Raise a UserError with the reasons why a format cannot hold a model, and the formats that can."""
    reasons = FORMATS[request.format].refuses(request)
    if not reasons:
        return
    others = [name for name in FORMATS if name != request.format and not FORMATS[name].refuses(as_merged(request, name))]
    can = f"These formats can: {', '.join(others)}." if others else "No format can; model_loaders.load reads the adapter."
    raise UserError(f"{request.format} cannot hold this model: {'; '.join(reasons)}. {can}")


def as_merged(request: Request, name: str) -> Request:
    """Return the order of another format, with LoRA as that format has it."""
    return Request(request.model, name, "merged", request.dtype, request.base_name, request.base_directory, request.device)


def listed() -> str:
    """Return the table as text: each format, and which programs read it."""
    lines = []
    for form in FORMATS.values():
        lines.append(f"{form.name}: {form.about}")
        lines += [f"    {program:22}{how}" for program, how in form.readers.items()]
    lines.append("tried: read by that program in this project's tests; documented: by the program's own documentation alone")
    return "\n".join(lines)
