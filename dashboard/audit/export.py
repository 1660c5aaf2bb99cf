"""The trail as files: CSV for spreadsheets, JSON lines for machines, which can check the chain too."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dashboard.audit.models import AuditEvent

COLUMNS = [
    *("number", "at", "actor", "address", "request_id", "verb", "object", "tenant"),
    *("before", "after", "reason", "prev", "hash"),
]


class _Line:
    """What csv.writer writes to: it hands each line back."""

    def write(self, text: str) -> str:
        return text


# Numbers count everybody's acts: a tenant's own people get none, nor the links that need them.
CHAIN = ("number", "prev", "hash")
OF_A_TENANT = [name for name in COLUMNS if name not in CHAIN]


def as_csv(events: Iterable[AuditEvent], columns: Sequence[str] = COLUMNS) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(columns)
    for event in events:
        values = _values(event)
        yield writer.writerow([harmless(_text(values[name])) for name in columns])


def as_json_lines(events: Iterable[AuditEvent], columns: Sequence[str] = COLUMNS) -> Iterator[str]:
    for event in events:
        values = _values(event)
        yield json.dumps({name: values[name] for name in columns}, ensure_ascii=False) + "\n"


def harmless(text: str) -> str:
    """A spreadsheet runs a cell that begins like a formula: what people typed must not."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _values(event: AuditEvent) -> dict[str, Any]:
    return {**event.document(), "prev": event.prev, "hash": event.hash}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
