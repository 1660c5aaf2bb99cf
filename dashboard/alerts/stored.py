"""A rule's state as a column keeps it."""

from typing import Any

import msgspec

from dashboard.alerts.models import AlertState
from dashboard.alerts.rules import State


def restored(row: AlertState | None) -> State:
    return msgspec.convert(row.state, State) if row and row.state else State()


def kept(state: State) -> Any:
    return msgspec.to_builtins(state)
