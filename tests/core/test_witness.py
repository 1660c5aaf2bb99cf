"""Who starts before whom, and what follows from it."""

import pytest

from gateway.core.witness import Witness


def scene(*sent: tuple[str, int], prompts: dict[str, int] | None = None) -> Witness:
    """Requests sent 10 ms apart, all of them still waiting in the engine at 500 ms."""
    witness = Witness()
    for i, (id, priority) in enumerate(sent):
        tokens = (prompts or {}).get(id, 100)
        witness.sent(id, priority, tokens, 10 * i, tells_start=True)
    witness.polled(len(sent), 500)
    return witness


def start(witness: Witness, *ids: str, every_ms: int = 1000) -> None:
    for i, id in enumerate(ids, 1):
        witness.started(id, 500 + every_ms * i)


MIXED = (("low 1", 0), ("low 2", 0), ("low 3", 0), ("top 1", 8), ("top 2", 8), ("top 3", 8))


def test_two_overtaken_requests_are_chance():
    witness = scene(*MIXED)

    start(witness, "low 1", "low 2", "low 3", "top 1", "top 2")

    assert witness.verdict == "unknown"


def test_three_overtaken_requests_are_enough():
    witness = scene(*MIXED)

    start(witness, "low 1", "low 2", "low 3", "top 1", "top 2", "top 3")

    assert witness.verdict == "fcfs"


def test_urgent_ones_first_is_priority():
    witness = scene(*MIXED)

    start(witness, "top 1", "top 2", "top 3", "low 1", "low 2", "low 3")

    assert witness.verdict == "priority"


def test_requests_of_one_priority_tell_nothing():
    witness = scene(*((f"low {i}", 0) for i in range(9)))

    start(witness, *(f"low {i}" for i in range(9)))

    assert witness.verdict == "unknown"


def test_what_did_not_wait_in_the_engine_together_is_no_evidence():
    witness = Witness()
    for i in range(5):
        witness.sent(f"low {i}", 0, 100, i, tells_start=True)
    witness.polled(4, 500)  # one of the five runs, and nobody knows which
    for i in range(5):
        witness.sent(f"top {i}", 8, 100, 600 + i, tells_start=True)

    start(witness, *(f"low {i}" for i in range(5)), *(f"top {i}" for i in range(5)))

    assert witness.verdict == "unknown"


def test_a_plain_answer_tells_no_start():
    witness = Witness()
    for i, (id, priority) in enumerate(MIXED):
        witness.sent(id, priority, 100, i, tells_start=False)
    witness.polled(len(MIXED), 500)

    start(witness, *(id for id, _ in MIXED))

    assert witness.verdict == "unknown"


def test_a_long_prompt_may_speak_later_than_a_short_one():
    witness = scene(*MIXED, prompts={"top 1": 9000, "top 2": 9000, "top 3": 9000})

    start(witness, "low 1", "low 2", "low 3", "top 1", "top 2", "top 3")

    assert witness.verdict == "unknown"


def test_first_bytes_of_one_step_tell_no_order():
    witness = scene(*MIXED)

    start(witness, "low 1", "low 2", "low 3", "top 1", "top 2", "top 3", every_ms=10)

    assert witness.verdict == "unknown"


def test_mixed_evidence_says_nothing():
    witness = scene(*MIXED)
    start(witness, "low 1", "low 2", "low 3", "top 1", "top 2", "top 3")
    for i, (id, priority) in enumerate(MIXED):
        witness.sent(f"again {id}", priority, 100, 10_000 + i, tells_start=True)
    witness.polled(6, 10_500)

    for i, id in enumerate(("top 1", "top 2", "top 3", "low 1", "low 2", "low 3"), 1):
        witness.started(f"again {id}", 10_500 + 1000 * i)

    assert witness.verdict == "unknown"


@pytest.mark.parametrize("when", ["before it started", "after it started"])
def test_nothing_is_kept_of_what_has_left(when):
    witness = scene(*MIXED)
    if when == "after it started":
        start(witness, *(id for id, _ in MIXED))

    for id, _ in MIXED:
        witness.left(id)
    witness.started("low 1", 9000)

    assert not witness._out
