"""Comment lines for a stream that waits: where it stands, every two seconds, if it asked.

All official SDKs skip comments.  The price is that the 200 is spent: a refusal after the first
comment is an error event, and no client retries it.
"""

import asyncio
from collections.abc import Awaitable

from gateway import headers
from gateway.inquiry import view
from gateway.journey import Journey

FIRST_AFTER_S = 1.0
EVERY_S = 2.0


async def told(journey: Journey, turn: Awaitable[None]) -> None:
    """Wait for ``turn``; a stream that sent ``x-laneway-progress: 1`` is told its place meanwhile."""
    call = journey.call
    if call is None or not call.stream or not headers.wants_progress(journey.request.headers):
        await turn
        return
    telling = asyncio.create_task(_tell(journey))
    try:
        await turn
    finally:
        telling.cancel()
        # So that two tasks never write at once.  Awaited itself, its cancellation would hide that
        # of a caller who leaves just now.
        await asyncio.wait([telling])


async def say_dispatched(journey: Journey) -> None:
    """Close the account: only to a caller that has been told it was waiting."""
    dispatch, placement = journey.dispatch, journey.placement
    if journey.reply.started and not journey.forwarded and dispatch and placement:
        waited_ms = round(journey.queue_wait_s * 1000)
        await journey.reply.write(
            b": dispatched tier=%b priority=%d queue_wait_ms=%d\n\n"
            % (placement.tier.name.encode(), dispatch.priority, waited_ms)
        )


async def _tell(journey: Journey) -> None:
    await asyncio.sleep(FIRST_AFTER_S)
    while True:
        seen = view(journey)
        line = f": queued position={seen.position or 'parked'}"
        if seen.eta_s is not None:
            line += f" eta_s={seen.eta_s.p50:.0f} eta_p90_s={seen.eta_s.p90:.0f}"
        if not journey.reply.started:
            await journey.reply.start(200, journey.headers(headers.STREAM))
        await journey.reply.write(line.encode() + b"\n\n")
        await asyncio.sleep(EVERY_S)
