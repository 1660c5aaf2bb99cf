"""Look at this installation: its rows, its services, and what the running gateway shows."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import httpx
import msgspec
from celery import current_app
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import KombuError
from prometheus_client.parser import text_string_to_metric_families

from gateway import reading
from gateway.core.snapshot import Frame
from gateway.doctor.facts import Live, Site, Traffic
from gateway.models import APIKey, Backend, BackendRow, UsageRecord

HOUR = timedelta(hours=1)
MOST_ROWS = 20_000
TIMEOUT_S = 2.0
POLICY = "laneway_backend_scheduling_policy"
GAUGES = {
    "laneway_slots": "limit",
    "laneway_slots_taken": "in_flight",
    "laneway_engine_num_requests_waiting": "engine_waiting",
}


def traffic(now: datetime) -> Traffic:
    columns = ("tier", "reason", "task_type", "key_id8", "queue_wait_s")
    recent = UsageRecord.objects.filter(arrived_at__gte=now - HOUR).order_by("-arrived_at")
    rows = list(recent.values_list(*columns)[:MOST_ROWS])
    waits = sorted(row[4] for row in rows if row[4] is not None)
    reasons = [row[1].split(", ") for row in rows]
    return Traffic(
        requests=len(rows),
        wait_p95_s=waits[int(0.95 * (len(waits) - 1))] if waits else 0.0,
        tiers=tuple(sorted({row[0] for row in rows if row[0]})),
        unstated=sum("default" in reason for reason in reasons),
        clamped=_counted(
            row[3]
            for row, reason in zip(rows, reasons, strict=True)
            if any(part.startswith("ceiling:") for part in reason)
        ),
        unmapped=_counted(
            row[2] for row, reason in zip(rows, reasons, strict=True) if "task_unknown" in reason
        ),
    )


def _counted(names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(names).most_common())


def backends() -> list[BackendRow]:
    return [row for row in Backend.objects.all().as_rows() if row.enabled]


def site() -> Site:
    """What the database says."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            names = tuple(f"{migration.app_label}.{migration.name}" for migration, _ in plan)
            return Site(unapplied=names)
        peppers = Counter(APIKey.objects.in_use().values_list("pepper_id", flat=True))
        state = reading.read(time.time())
    except Error as error:
        return Site(database_error=" ".join(str(error).split()))
    except ValueError as error:
        return Site(unreadable=(str(error),))
    known = settings.LANEWAY_PEPPERS
    return Site(
        unreadable=state.unreadable,
        policy_version=state.newest_version,
        keys_in_use=sum(peppers.values()),
        keys_without_pepper=sum(n for id, n in peppers.items() if id not in known),
    )


def redis_error() -> str | None:
    """None: none is configured; "": it answers."""
    cache = settings.CACHES["default"]
    if not cache["BACKEND"].endswith("RedisCache"):
        return None
    import redis  # an optional extra, which is there where it is configured

    try:
        with redis.Redis.from_url(cache["LOCATION"], socket_timeout=TIMEOUT_S) as client:
            client.ping()
    except redis.RedisError as error:
        return str(error)
    return ""


def workers() -> int | None:
    """How many of Celery's workers answer, up to the first one; None: they could not be asked."""
    if current_app.conf.task_always_eager:
        return 1  # tasks run where they are called
    try:
        told = current_app.control.broadcast("ping", reply=True, timeout=TIMEOUT_S, limit=1)
        return len(told or ())
    except (KombuError, OSError):
        return None


def live_of(frame: bytes) -> dict[str, Live]:
    """From the newest frame, where it is at hand."""
    pools = msgspec.json.decode(frame, type=Frame).pools
    return {
        one.name: Live(one.scheduling_policy, one.in_flight, one.limit, one.engine_waiting)
        for pool in pools
        for one in pool.backends
    }


def live_from(address: str) -> tuple[Mapping[str, Live], str]:
    """From the running gateway's metrics, and why it could not be asked; "" if it could."""
    try:
        with httpx.Client(base_url=address, timeout=TIMEOUT_S, trust_env=False) as http:
            text = http.get("/metrics").raise_for_status().text
    except httpx.HTTPStatusError as error:
        return {}, f"{address}/metrics answered {error.response.status_code}"
    except httpx.HTTPError as error:
        return {}, str(error) or type(error).__name__
    told: dict[str, dict[str, object]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            of = told.setdefault(sample.labels.get("backend", ""), {})
            if sample.name == POLICY:
                of["scheduling_policy"] = sample.labels["policy"]
            elif sample.name in GAUGES:
                of[GAUGES[sample.name]] = int(sample.value)
    return {name: msgspec.convert(of, Live) for name, of in told.items() if of}, ""
