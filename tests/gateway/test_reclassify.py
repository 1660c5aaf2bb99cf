"""A policy is published while requests wait: where they stand from then on, and what is told."""

from msgspec.structs import replace

from gateway.core.outlook import look
from gateway.core.policy import Limits, Policy, TenantRules, default_policy
from gateway.publisher import Publisher
from tests.gateway.conftest import Gateway
from tests.support.clock import until


async def publish(gateway: Gateway, policy: Policy, version: int) -> None:
    """Taken over as the ticker takes over what a database shows."""
    proxy = gateway.proxy
    directory = proxy.directory
    entries = {
        id8: entry._replace(
            caller=entry.caller._replace(
                policy=policy,
                policy_version=version,
                tenant_rules=policy.tenants.get(entry.caller.tenant, TenantRules()),
            )
        )
        for id8, entry in directory.state.entries.items()
    }

    async def refresh() -> bool:
        directory.state = directory.state._replace(
            policy=policy, policy_version=version, entries=entries
        )
        return True

    async def nothing() -> None:
        return

    publisher = Publisher(directory, proxy.fleet, proxy.recorder, proxy.register)
    directory.refresh = refresh
    publisher.overrides.keep = nothing
    await publisher.take_over()


def mapping(**tasks: str) -> Policy:
    policy = default_policy()
    return replace(policy, task_types=policy.task_types | tasks)


async def test_who_waits_goes_where_the_new_policy_puts_its_task(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with (
            gateway.chat("summarize", stream=False) as other,
            gateway.chat("batch_inference", stream=False) as moved,
        ):
            await until(lambda: gateway.waiting == 2)
            await publish(gateway, mapping(batch_inference="critical"), 2)
            gateway.vllm.generations[0].finish()
            await until(lambda: len(gateway.vllm.generations) == 3)
            for running in gateway.vllm.generations[1:]:
                running.finish()
            await moved.done()
            await until(lambda: len(gateway.vllm.generations) == 4)
            gateway.vllm.generations[3].finish()
            await other.done()

    shown = ("x-laneway-tier", "x-laneway-priority", "x-laneway-policy-version")
    assert [moved.headers[name] for name in shown] == ["critical", "8", "2"]
    assert moved.headers["x-laneway-reason"] == "task:batch_inference"
    assert [other.headers[name] for name in shown] == ["standard", "0", "2"]
    assert gateway.proxy.recorder.latest().policy_version == 2  # of ``other``, which was not moved


async def test_what_runs_keeps_the_version_that_sent_it(gateway):
    async with gateway.chat("chat", stream=False) as call:
        await until(lambda: len(gateway.vllm.generations) == 1)
        await publish(gateway, mapping(chat="batch"), 2)
        gateway.vllm.generations[0].finish()
        await call.done()

    assert (call.headers["x-laneway-tier"], call.headers["x-laneway-policy-version"]) == (
        "realtime",
        "1",
    )


async def test_what_a_spent_lane_demoted_stays_where_it_is(gateway):
    lane = Limits(requests_per_min=1, on_excess="demote")
    tenants = {"acme": TenantRules(tier_limits={"critical": lane})}
    await publish(gateway, replace(default_policy(), tenants=tenants), 2)
    async with gateway.chat("code_generation"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("code_generation") as demoted:
            await until(lambda: gateway.waiting == 1)
            await publish(gateway, replace(mapping(chat="batch"), tenants=tenants), 3)
            tiers = gateway.pool.queue.scheduler.line.tiers
            assert (tiers["critical"].waiting, tiers["standard"].waiting) == (0, 1)
            demoted.hang_up()


async def test_a_boost_and_the_age_go_along(gateway):
    async with gateway.chat("chat"), gateway.chat("chat"):
        await until(lambda: len(gateway.vllm.generations) == 2)
        async with gateway.chat("batch_inference") as call:
            await until(lambda: gateway.waiting == 1)
            (request,) = look(gateway.pool.queue.scheduler, 0).head
            gateway.pool.queue.boost([request.id], 2)
            await publish(gateway, mapping(batch_inference="standard"), 2)
            (moved,) = look(gateway.pool.queue.scheduler, 0).head
            call.hang_up()

    assert (moved.tier, moved.boost) == ("standard", 2)
    assert moved.waited_s == request.waited_s  # at one moment, so both arrived at one
