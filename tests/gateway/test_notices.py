"""What replies tell of a key's end, and where it may be used from, on the way through the proxy."""

import math

from gateway.core.policy import KeyRules
from tests.support.clock import until


def set_entry(gateway, **fields) -> None:
    state = gateway.proxy.directory.state
    id8 = gateway.keys["acme"].split("_")[2]
    entries = {**state.entries, id8: state.entries[id8]._replace(**fields)}
    gateway.proxy.directory.state = state._replace(entries=entries)


async def told(gateway) -> dict[str, str]:
    async with gateway.chat(stream=False) as call:
        await until(lambda: gateway.vllm.generations)
        gateway.vllm.generations.pop().finish()
        await call.done()
    assert call.status == 200
    return {name: call.headers[name] for name in ("deprecation", "sunset") if name in call.headers}


async def test_replies_to_a_retiring_key_carry_its_end(gateway):
    notices = {"deprecation": "@1763999940", "sunset": "Mon, 24 Nov 2025 17:00:00 GMT"}
    set_entry(gateway, notices=notices, notices_from=0.0)

    assert await told(gateway) == notices


async def test_replies_to_other_keys_carry_none(gateway):
    set_entry(gateway, notices={"sunset": "some day"}, notices_from=math.inf)

    assert await told(gateway) == {}


async def test_a_caller_from_elsewhere_is_refused_before_anything_is_sent(gateway):
    id8 = gateway.keys["acme"].split("_")[2]
    entry = gateway.proxy.directory.state.entries[id8]
    rules = KeyRules(networks=("192.0.2.0/24",))
    set_entry(gateway, networks=(), caller=entry.caller._replace(key_rules=rules))

    async with gateway.chat(stream=False) as call:
        await call.done()

    assert (call.status, call.json()["error"]["code"]) == (403, "ip_not_allowed")
    assert not gateway.vllm.generations
