"""The whole visit: ask, look, judge, sort."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from asgiref.sync import sync_to_async
from django.conf import settings
from msgspec import Struct

from gateway.doctor import asking, looking, servers, site, traffic
from gateway.doctor.facts import Live
from gateway.doctor.finding import WORST_FIRST, Finding, Severity


class Report(Struct, frozen=True):
    """Worst first; within a severity in the order of asking."""

    findings: list[Finding]

    def of(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def counts(self) -> str:
        """``no errors, 1 warning, 2 notes, 9 ok``."""
        numbers = [(len(self.of(severity)), severity) for severity in WORST_FIRST]
        return ", ".join(
            f"{n or 'no'} {severity}{'' if n == 1 or severity == 'ok' else 's'}"
            for n, severity in numbers
        )


async def examine(now: datetime, live: Mapping[str, Live], gateway_error: str = "") -> Report:
    """``live`` is what the running gateway shows of its backends, by name.  Rows are read where
    Django wants it; what may take seconds is waited for elsewhere, so that no page stands still."""
    services = asyncio.gather(
        asyncio.to_thread(looking.redis_error), asyncio.to_thread(looking.workers)
    )
    here = (await sync_to_async(looking.site)())._replace(gateway_error=gateway_error)
    redis_error, workers = await services
    findings = list(site.judge(here._replace(redis_error=redis_error, workers=workers)))
    if not here.database_error and not here.unapplied:
        rows = await sync_to_async(looking.backends)()
        if not rows:
            message = "No backend is switched on, so every request is refused."
            advice = "Set VLLM_URL and start `manage.py up`, or add one under /_admin/."
            findings.append(Finding("error", "backends", "no_backends", message, advice))
        asked = await asking.ask_all(rows, settings.LANEWAY_BACKEND_KEY, live)
        findings += servers.judge(asked)
        findings += traffic.judge(await sync_to_async(looking.traffic)(now))
    return Report(sorted(findings, key=lambda one: WORST_FIRST.index(one.severity)))
