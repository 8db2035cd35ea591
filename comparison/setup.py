"""Build the comparison alone as a wheel: `comparison/`, with the part of `common/` that it imports as `comparison/common/`.

The room `common/` has a name that would stand in the way of others in somebody's environment. So the wheel holds a copy inside
of `comparison`, and the copied files import that one. Build it from a clone, where both folders lie side by side.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
DATA = ("*.yaml", "*.html", "*.css")
NO_PART = {"setup.py"}
IMPORT = re.compile(r"^(\s*)(from|import) common\b", re.MULTILINE)


class CopyBoth(build_py):
    """Copies both folders and rewrites their imports of `common`."""

    def run(self) -> None:
        """Write the package into the folder that becomes the wheel.

        Raises:
            FileNotFoundError: the folder is no part of a clone.
        """
        target = Path(self.build_lib) / "comparison"
        shutil.rmtree(target, ignore_errors=True)
        common = HERE.parent / "common"
        if not common.is_dir():
            raise FileNotFoundError(f"{common} is not there: install from a clone, pip install ./comparison")
        copy_package(HERE, target)
        copy_package(common, target / "common")


def copy_package(source: Path, target: Path) -> None:
    """Copy the code and the data of a folder, with the imports of `common` rewritten."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.name in NO_PART or not path.is_file():
            continue
        if path.suffix == ".py":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
        elif any(path.match(pattern) for pattern in DATA):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def rewritten(text: str) -> str:
    """Return a file's text with `from common.x import y` as `from comparison.common.x import y`."""
    return IMPORT.sub(r"\1\2 comparison.common", text)


def main() -> None:
    """Build, with everything temporary outside of the clone."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"build": {"build_base": folder}, "egg_info": {"egg_base": folder}}
        setup(packages=["comparison"], package_dir={"comparison": "."}, cmdclass={"build_py": CopyBoth}, options=options)


if __name__ == "__main__":
    main()
