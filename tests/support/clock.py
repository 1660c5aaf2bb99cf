"""An event loop on virtual time, and a way to wait that suits it and a real one.

Whatever reads time from ``loop.time()`` alone runs an hour in milliseconds on it. Sockets work as
long as both ends belong to this loop; threads do not, as nothing would wait for them.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class Deadlock(RuntimeError):
    """Every task waits for something that cannot happen."""


class _VirtualSelector(selectors.DefaultSelector):
    """Polls, and instead of waiting for ``timeout`` seconds adds them to ``now``."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("No timer is set and no socket is ready: nobody can go on.")
            self.now += max(timeout, 0.0)
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when nothing is left to do, and then at once.

    The class is its own factory: for ``run`` below, for ``asyncio.Runner(loop_factory=…)`` and
    for pytest-asyncio's hook ``pytest_asyncio_loop_factories``.
    """

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class VirtualClockPolicy(asyncio.DefaultEventLoopPolicy):
    """The same for whoever takes a policy and no factory."""

    _loop_factory = VirtualClockLoop


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an async test one that runs on a loop of its own, on virtual time.

    Its fixtures must not be async: they would belong to another loop.
    """

    @functools.wraps(test)
    def timeless(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return timeless


async def until(condition: Callable[[], object], *, timeout_s: float = 20.0) -> None:
    """Wait until ``condition()`` is true, looking each millisecond of the running loop's time.

    Raises:
        AssertionError: it was not in ``timeout_s``.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_s
    while not condition():
        assert loop.time() < give_up_at, f"not within {timeout_s:g} s: {condition}"
        await asyncio.sleep(0.001)
