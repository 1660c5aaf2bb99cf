"""The fake says nothing that a real vLLM does not say: its shapes are parts of the recorded ones."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.support import vllm_contract as contract
from tests.support.fake_vllm import MODEL, FakeVLLM

ANSWERED = ("chat", "chat, stream with usage", "models", "version")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLM]:
    """On a loop in a thread of its own, as the contract asks from outside."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    vllm = FakeVLLM()
    vllm.automatic = True
    asyncio.run_coroutine_threadsafe(vllm.start(), loop).result(10)
    yield vllm
    asyncio.run_coroutine_threadsafe(vllm.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def is_part(part: object, whole: object) -> bool:
    """Whether all names in ``part`` are in ``whole`` too, at the same places."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(value, whole[name]) for name, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return all(any(is_part(one, other) for other in whole) for one in part)
    return not isinstance(part, dict | list) and not isinstance(whole, dict | list)


@pytest.mark.parametrize("name", ANSWERED)
def test_its_answers_are_parts_of_the_real_ones(fake, name):
    ask = next(ask for ask in contract.ASKS if ask.name == name)
    real = contract.recorded()["answers"][name]

    shape = contract.shape_of(ask, fake.url, MODEL)

    assert shape["status"] == real["status"]
    assert shape["headers"]["content-type"] == real["headers"]["content-type"]
    assert is_part(shape["body"], real["body"]), (shape["body"], real["body"])


def test_a_name_that_vllm_does_not_know_is_noticed():
    assert is_part({"a": [{"b": 1}]}, {"a": [{"c": 1}, {"b": 2}]})
    assert not is_part({"a": [{"x": 1}]}, {"a": [{"c": 1}, {"b": 2}]})
