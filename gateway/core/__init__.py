"""Decisions without I/O.

Nothing in this package waits, logs, reads a clock, draws a random number or looks at the
environment; Django and asyncio stay outside.  ``now_ms`` is an argument everywhere: whole
milliseconds of a clock that never goes back (the event loop's in the live gateway, a plain
number in the simulator and the tests).  Order is decided with integers alone, so that the same
operations at the same moments give the same decisions in every process.

Higher priority is more urgent.  vLLM's opposite exists in ``wire.vllm_priority`` and nowhere else.
"""
