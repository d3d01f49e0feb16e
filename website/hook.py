"""What mkdocs does besides rendering docs/: adds the generated pages, and points links out of docs/ to the repository.

A page in docs/ is read on the site and in the repository. A link to a file outside docs/ is right in the repository;
on the site it leads to the page that shows this file, or to the repository. A link to a file that is not there is left
as it is, so that mkdocs reports it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website.pages import GENERATED, OUTSIDE

REPOSITORY = "https://github.com/rljob/rljob"
ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files in docs/."""
    for uri, make in GENERATED.items():
        files.append(File.generated(config, uri, content=make()))
    for uri, source in OUTSIDE.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside docs/ to their page, or to the repository."""
    uri = page.file.src_uri
    source = PurePosixPath(OUTSIDE.get(uri, f"docs/{uri}"))

    def replace(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = os.path.normpath(source.parent / target)
        shown = _page_of(path)
        if shown is not None:
            return f"]({os.path.relpath(shown, PurePosixPath(uri).parent)}{anchor})"
        if path.startswith("..") or not (ROOT / path).exists():
            return link[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{path}{anchor})"

    return _LINK.sub(replace, markdown)


def _page_of(path: str) -> str | None:
    """The page that shows a file of the repository, if there is one."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return next((uri for uri, source in OUTSIDE.items() if source == path), None)
