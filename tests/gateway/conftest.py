"""A whole data plane in the test's own event loop, with a fake model server behind it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings

from gateway import keys
from gateway.auth import Caller, Directory, Entry, State
from gateway.backends import Fleet
from gateway.core.policy import KeyRules, Policy, TenantRules, default_policy
from gateway.metrics import Metrics
from gateway.models import BackendRow
from gateway.proxy import Proxy
from gateway.records import Recorder
from gateway.upstream import Upstream
from tests.support.caller import Call
from tests.support.clock import until
from tests.support.fake_vllm import FakeVLLM, fake_vllm
from tests.support.front import Front, front_of


@dataclass
class Gateway:
    proxy: Proxy
    vllm: FakeVLLM
    keys: dict[str, str]

    @property
    def pool(self) -> Any:
        return self.proxy.fleet.pools["default"]

    @property
    def in_flight(self) -> int:
        return self.pool.queue.scheduler.slots.in_flight

    @property
    def waiting(self) -> int:
        return self.pool.queue.scheduler.waiting

    def chat(self, task: str = "", *, stream: bool = True, key: str = "acme", **body: Any) -> Call:
        sent = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        headers = {"x-task-type": task} if task else {}
        return Call(
            self.proxy,
            "/v1/chat/completions",
            sent | body,
            headers=headers,
            key=self.keys[key],
        )

    def ask(self, path: str, body: object = None, *, key: str = "acme", **how: Any) -> Call:
        return Call(self.proxy, path, body, key=self.keys.get(key, ""), **how)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a tick's queries may take longer than a real one waits for them."""
    monkeypatch.setattr("gateway.aside.PATIENCE_S", 10.0)


def state_of(policy: Policy, rules: dict[str, KeyRules], backends: list[BackendRow]) -> Any:
    """A directory's state made by hand, and the keys that open it."""
    pepper_id, pepper = next(iter(settings.LANEWAY_PEPPERS.items()))
    entries, issued = {}, {}
    for number, (tenant, key_rules) in enumerate(rules.items(), 1):
        kind: keys.Kind = "admin" if tenant == "admin" else "live"
        key = keys.mint(kind)
        issued[tenant] = key.whole
        caller = Caller(
            tenant=tenant,
            tenant_id=number,
            key_id8=key.id8,
            key_id=number,
            kind=kind,
            tenant_rules=policy.tenants.get(tenant, TenantRules()),
            key_rules=key_rules,
            policy=policy,
            policy_version=1,
        )
        entries[key.id8] = Entry(
            digest=keys.digest(key.whole, pepper),
            pepper_id=pepper_id,
            status="active",
            not_before=None,
            expires_at=None,
            tenant_status="active",
            caller=caller,
        )
    return State(1, 1, policy, entries, tuple(backends), 0.0), issued


@pytest.fixture
def slots() -> int:
    """How many requests the model server is given at once; override by parametrising."""
    return 2


@pytest.fixture
def policy() -> Policy:
    """Override by parametrising."""
    return default_policy()


@pytest.fixture
def key_rules() -> dict[str, KeyRules]:
    """By tenant, in place of the usual ones; override by parametrising."""
    return {}


@pytest.fixture
async def gateway(
    slots: int, policy: Policy, key_rules: dict[str, KeyRules]
) -> AsyncIterator[Gateway]:
    async with fake_vllm() as vllm:
        row = BackendRow("gpu-1", "default", vllm.url, "priority", slots, True)
        rules = {
            "acme": KeyRules(),
            "birch": KeyRules(ceiling=0),
            "cedar": KeyRules(models=("other",)),
            "admin": KeyRules(),
        } | key_rules
        state, issued = state_of(policy, rules, [row])
        directory, fleet, upstream = Directory(state), Fleet(), Upstream()
        proxy = Proxy(directory, fleet, upstream, Metrics(fleet), Recorder())
        await upstream.start()
        fleet.configure(state.backends, state.policy, state.policy_version)
        gateway = Gateway(proxy, vllm, issued)
        await until(lambda: gateway.pool.backends["gpu-1"].up)
        yield gateway
        await fleet.close()
        await upstream.close()


@pytest.fixture
async def front(gateway: Gateway) -> AsyncIterator[Front]:
    async with front_of(gateway) as front:
        yield front
