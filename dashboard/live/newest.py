"""The newest frame, where the gateway's ticker leaves it for pages that nothing is pushed to."""

import msgspec
from django.core.cache import cache

from gateway.core.snapshot import Frame

FRAME_KEY = "laneway.live.frame"  # kept for 5 s


def newest_frame() -> Frame | None:
    """None where none came, or one of another version of Laneway."""
    text = cache.get(FRAME_KEY)
    try:
        return msgspec.json.decode(text, type=Frame) if text else None
    except msgspec.ValidationError:
        return None
