"""MkDocs hooks of the documentation's site.

Pages link to files outside docs/ (the schema, the clients, tests) by relative paths, which work in a checkout. The site
takes a copy of each such file along, under source/, and its links lead there.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to outside docs/, and what that links to in turn."""
    waiting = [(f"docs/{page.src_uri}", page.content_string) for page in files.documentation_pages()]
    while waiting:
        place, text = waiting.pop()
        for link in _LINK.finditer(text):
            target = _target(place, link[2])
            if target.startswith("docs/") or not (ROOT / target).is_file():
                continue
            uri = f"source/{target}"
            if uri not in files.src_uris:
                page = target.endswith(".md")
                level = InclusionLevel.NOT_IN_NAV if page else InclusionLevel.INCLUDED
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target), inclusion=level))
                if page:
                    waiting.append((target, (ROOT / target).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from their places in the checkout to their places in the site."""
    uri = page.file.src_uri
    place = uri.removeprefix("source/") if uri.startswith("source/") else f"docs/{uri}"

    def moved(link: re.Match[str]) -> str:
        target = _target(place, link[2])
        if not (ROOT / target).is_file():
            return link[0]
        there = target.removeprefix("docs/") if target.startswith("docs/") else f"source/{target}"
        return link[1] + os.path.relpath(there, PurePosixPath(uri).parent).replace(os.sep, "/") + link[3]

    return _LINK.sub(moved, markdown)


def _target(place: str, link: str) -> str:
    """Where a link leads, from the root of the checkout."""
    return os.path.normpath(PurePosixPath(place).parent / link).replace(os.sep, "/")
