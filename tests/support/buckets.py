"""History as the gateway would have written it."""

from typing import Any

from gateway.core.buckets import FINEST_S, Bucket
from gateway.core.sketch import Sketch, pairs
from gateway.models import QueueBucket


def bucket(start: int, waits_ms: list[int] | None = None, **columns: Any) -> Bucket:
    """One that saw three wait throughout; the counts of waits follow from ``waits_ms``."""
    waits_ms = waits_ms or []
    waiting = columns.pop("waiting", 3)
    plain = Bucket(
        step_s=FINEST_S,
        pool="default",
        tier="standard",
        start=start,
        writer="gw",
        seconds=10,
        waiting_min=waiting,
        waiting_max=waiting,
        waiting_last=waiting,
        in_flight_min=1,
        in_flight_max=1,
        in_flight_last=1,
        oldest_min_s=0.0,
        oldest_max_s=2.0,
        oldest_last_s=1.0,
        wait_p95_max_s=None,
        arrived=len(waits_ms),
        dispatched=len(waits_ms),
        lost="",
        waits=str(Sketch.of(waits_ms)),
    )
    return plain._replace(**columns)


def store(*buckets: Bucket) -> None:
    QueueBucket.objects.bulk_create(QueueBucket(**one._asdict()) for one in buckets)


def sketch(text: str) -> Sketch:
    """A stored one."""
    found = Sketch()
    found.merge(pairs(text))
    return found
