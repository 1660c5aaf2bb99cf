"""What is told, before anybody knows by which way it goes.  Pure: no rows, no network."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

Kind = Literal["firing", "resolved", "reminder", "test", "digest"]
Severity = Literal["info", "warn", "crit"]


@dataclass(frozen=True)
class Message:
    """One message for people.  It carries no secret: it is kept in the log of deliveries."""

    kind: Kind
    severity: Severity
    title: str
    lines: tuple[str, ...] = ()
    link: str = ""  # whole addresses: who reads them is not on the site
    ack_link: str = ""
    at: datetime | None = None  # aware: when it happened, not when it is sent

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "lines": list(self.lines),
            "at": self.at.isoformat() if self.at else None,
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Message":
        at = kept["at"]
        return cls(
            **kept
            | {"lines": tuple(kept["lines"]), "at": datetime.fromisoformat(at) if at else None}
        )

    def text(self) -> str:
        """The body as plain text, a line each; the title stands apart."""
        links = [f"Acknowledge: {self.ack_link}"] if self.ack_link else []
        return "\n".join([*self.lines, *([self.link] if self.link else []), *links])
