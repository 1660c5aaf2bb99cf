"""Celery's broker on a folder: kombu's own, whose messages appear whole.

Kombu creates a message's file under its last name and then writes it (5.7,
kombu/transport/filesystem.py).  A worker that looks in between takes an empty message, and ends.
"""

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(  # type: ignore[override]  # kombu's own classes name it in two ways
        self, queue: str, message: Any, **kwargs: Any
    ) -> None:
        name = f"{time.monotonic_ns()}_{uuid4()}"  # they are taken in the order of their names
        unfinished = Path(self.data_folder_out, f"{name}.unfinished")
        try:
            unfinished.write_text(dumps(message))
            unfinished.rename(unfinished.with_name(f"{name}.{queue}.msg"))
        except OSError as error:
            raise ChannelError(f"Cannot write {unfinished}: {error}") from error


class Transport(filesystem.Transport):
    Channel = Channel
