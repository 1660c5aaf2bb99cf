"""A bad canary before a running gateway: real traffic, real rows, and the way back by itself."""

import asyncio
from contextlib import AsyncExitStack

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from dashboard.policies import canary
from dashboard.policies.fields import filled
from dashboard.policies.guards import GUARDS
from dashboard.policies.models import Draft, in_force
from dashboard.policies.ticker import Ticker
from gateway.auth import Directory
from gateway.backends import Fleet
from gateway.metrics import Metrics
from gateway.models import APIKey, Backend, Rollout, Tenant
from gateway.proxy import Proxy
from gateway.publisher import Publisher
from gateway.records import Recorder
from gateway.upstream import Upstream
from tests.support.caller import Call
from tests.support.clock import until
from tests.support.fake_vllm import fake_vllm

CHAT = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}]}
BACK_WITHIN_S = 10.0


def prepare(url: str) -> tuple[Rollout, dict[str, str]]:
    """Two tenants, and a canary that leaves one of them a request a minute."""
    Backend.objects.create(name="gpu-1", url=url, max_in_flight=4)
    tenants = [Tenant.objects.create(slug=slug, name=slug) for slug in ("acme", "birch")]
    keys = {t.slug: APIKey.objects.issue(t, "prod")[1] for t in tenants}
    number, document = in_force()
    spent = {"limits": {"requests_per_min": 1}}
    document["tenants"] = {tenant.slug: spent for tenant in tenants}
    ada = User.objects.create(username="ada")
    Draft(person=ada, base=number).write(filled(document), 0)
    row = canary.start(Draft.objects.of(ada), 1, "bad", 50, GUARDS, promotes=False, author=ada)
    return row, keys


async def test_a_bad_canary_is_back_within_ten_seconds(transactional_db, first):
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        vllm = await stack.enter_async_context(fake_vllm())
        vllm.automatic = True
        row, keys = await sync_to_async(prepare)(vllm.url)
        directory, fleet, upstream, recorder = Directory(), Fleet(), Upstream(), Recorder()
        proxy = Proxy(directory, fleet, upstream, Metrics(fleet), recorder)
        publisher = Publisher(directory, fleet, recorder, proxy.register)
        ticker = Ticker()
        publisher.listeners.append(ticker)
        await upstream.start()
        recorder.start()
        await publisher.take_over()
        ticking = asyncio.create_task(publisher.run())
        try:
            await until(lambda: fleet.pools["default"].backends["gpu-1"].up)
            started = loop.time()
            answers = []
            for _ in range(8):
                for key in keys.values():
                    async with Call(proxy, "/v1/chat/completions", CHAT, key=key) as call:
                        answers.append((await call.done()).status)
            followed = {one.caller.policy_version for one in directory.state.entries.values()}
            assert followed == {row.base, row.version}
            assert (answers.count(200), answers.count(429)) == (9, 7)

            await until(lambda: directory.state.policy_version == 3, timeout_s=BACK_WITHIN_S)

            assert loop.time() - started < BACK_WITHIN_S
            followed = {one.caller.policy_version for one in directory.state.entries.values()}
            assert followed == {3}
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await fleet.close()
            await upstream.close()
            await recorder.close()
            directory.close()
            ticker.close()
    row = await Rollout.objects.aget()
    assert row.state == "taken_back"
    assert "refused against 0.0 % of the others" in row.why
