"""Sphinx's configuration of the documentation as a site: ``make docs``. The build needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Pooling and attention"
extensions = ["myst_parser"]
# The repository's root is the source: the pages keep the places, and the links, that they have there.
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "quickstart/base/README.md",
    "configs/*/README.md",
]
myst_heading_anchors = 3  # links such as training.md#memory, as on GitHub
suppress_warnings = ["misc.highlighting_failure"]  # Pygments has no colours for Mermaid
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False

CONTENTS = """
```{toctree}
:hidden:

Start <self>
docs/training
docs/objectives
docs/evaluation
docs/export
docs/designs
docs/probes
docs/studies
docs/study
docs/report
docs/report_data
docs/statistics
docs/library
docs/architecture
docs/performance
configs/recipes/README
configs/systems/README
quickstart/base/README
CONTRIBUTING
CHANGELOG
```
"""


def setup(app: Sphinx) -> None:
    """Register the table of contents: the first page has none of its own, as GitHub would print it."""
    app.connect("source-read", add_contents)


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the table of contents to the first page."""
    if page == root_doc:
        source[0] += CONTENTS
