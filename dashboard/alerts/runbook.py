"""What to do when an alert fires: docs/runbook.md as a page, a section for each thing that is judged."""

from functools import cache
from typing import NamedTuple

from django.conf import settings
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt

SOURCE = settings.BASE_DIR / "docs" / "runbook.md"


class Section(NamedTuple):
    keys: tuple[str, ...]  # of metrics; each is an anchor
    title: str
    body: SafeString


@cache
def sections() -> tuple[SafeString, tuple[Section, ...]]:
    """The introduction and the sections.  A heading is ``KEY, KEY: title``."""
    markdown = MarkdownIt("js-default")  # HTML in the text is shown, not obeyed
    head, *parts = SOURCE.read_text(encoding="utf-8").split("\n## ")

    def rendered(text: str) -> SafeString:
        return SafeString(markdown.render(text))

    found = []
    for part in parts:
        heading, _, body = part.partition("\n")
        keys, _, title = heading.partition(": ")
        found.append(Section(tuple(keys.split(", ")), title, rendered(body)))
    return rendered(head.partition("\n")[2]), tuple(found)
