"""The newest frame, where the ticker leaves it for pages that nothing is pushed to.

Kept for a few seconds only: where nothing is left any more, the gateway is silent.
"""

import msgspec
from django.core.cache import cache

from gateway.core.snapshot import Frame

FRAME = "laneway.live.frame"
CROWDS = "laneway.live.crowds"
KEPT_S = 5
Crowds = dict[tuple[str, str, str], int]  # how many wait, by pool, tier and tenant


def leave(text: str, crowds: Crowds) -> None:
    """Leave both; the frame as text, for it is encoded once for whoever else gets it."""
    cache.set_many({FRAME: text, CROWDS: crowds}, KEPT_S)


def frame_text() -> str | None:
    """As it was left, whatever version of Laneway it is of."""
    text: str | None = cache.get(FRAME)
    return text


def frame() -> Frame | None:
    """None where none came, or one of another version of Laneway."""
    text = frame_text()
    try:
        return msgspec.json.decode(text, type=Frame) if text else None
    except msgspec.ValidationError:
        return None


def crowds() -> Crowds:
    found: Crowds | None = cache.get(CROWDS)
    return found or {}
