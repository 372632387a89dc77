"""For MkDocs: pages made of the repository's own files, and links that hold there and here.

README and its like stay where a visitor of the repository looks for them; the site shows the same
text. A link to a file that is no page, such as a source file, becomes its name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = {
    "README.md": "index.md",
    "datasets/README.md": "datasets.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# Code comes first, so that what looks like a link in it is left alone.
CODE_OR_LINK = re.compile(
    r"```.*?```|`[^`\n]*`"
    r"|\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)",
    re.DOTALL,
)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of PAGES."""
    for source, page in PAGES.items():
        text = linked((ROOT / source).read_text(encoding="utf-8"), PurePosixPath(source).parent)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The same for the files of docs/."""
    if page.file.src_uri in PAGES.values():
        return markdown
    return linked(markdown, PurePosixPath("docs") / PurePosixPath(page.file.src_uri).parent)


def linked(markdown: str, folder: PurePosixPath) -> str:
    """A text of the repository's folder ``folder`` with its links as the site has them.

    Raises:
        FileNotFoundError: a link leads to no file.
    """

    def replaced(found: re.Match) -> str:
        if found["target"] is None:
            return found[0]
        text, anchor = found["text"], found["anchor"] or ""
        target = os.path.normpath(folder / found["target"])
        if not (ROOT / target).exists():
            raise FileNotFoundError(f"a page in {folder} links to {target}, which does not exist")
        if target in PAGES:
            return f"[{text}]({PAGES[target]}{anchor})"
        if PurePosixPath(target).is_relative_to("docs"):
            return f"[{text}]({PurePosixPath(target).relative_to('docs')}{anchor})"
        return f"`{target}`"

    return CODE_OR_LINK.sub(replaced, markdown)
