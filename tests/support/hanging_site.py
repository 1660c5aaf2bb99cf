# ruff: noqa: TID251 -- the settings are named before the site is imported
"""The site, and under ``/hang`` what a page is whose query never ends: an ASGI application."""

import logging
import os
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from dashboard.asgi import application as site


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope.get("path") != "/hang":
        await site(scope, receive, send)
        return
    async with ThreadSensitiveContext():  # as Django's own handler
        logging.getLogger(__name__).warning("a page hangs")
        await sync_to_async(time.sleep)(600)
