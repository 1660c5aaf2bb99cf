from gateway.core import quota
from gateway.core.admission import Door, admit
from gateway.core.policy import KeyRules, Limits, Placement, TenantRules, default_policy

POLICY = default_policy()


def door(tenant: TenantRules | None = None, key: KeyRules | None = None) -> Door:
    return Door(POLICY, "acme", tenant or TenantRules(), "AbCd1234", key or KeyRules())


def asked(name: str) -> Placement:
    tier = POLICY.tier(name)
    assert tier is not None
    return Placement(tier, "", ("priority",))


def test_without_limits_nothing_is_charged():
    admission = admit(door(), {}, asked("realtime"), cost=500, now_ms=0)

    assert admission.placement == asked("realtime")
    assert admission.charges == ()


def test_a_spent_tenant_is_refused_with_the_wait():
    tats: quota.Tats = {}
    who = door(TenantRules(limits=Limits(requests_per_min=6)))

    first = admit(who, tats, asked("standard"), cost=1, now_ms=0)
    second = admit(who, tats, asked("standard"), cost=1, now_ms=0)

    assert not first.exceeded
    assert [rule.key for rule in second.exceeded] == ["tenant:acme:requests"]
    assert second.retry_after_ms == 10_000


def test_a_spent_lane_demotes_to_the_next_tier_with_quota_left_and_says_so():
    lanes = {
        "realtime": Limits(requests_per_min=6, on_excess="demote"),
        "critical": Limits(requests_per_min=6, on_excess="demote"),
    }
    tats: quota.Tats = {}
    who = door(TenantRules(tier_limits=lanes))

    placed = [admit(who, tats, asked("realtime"), cost=1, now_ms=0).placement for _ in range(3)]

    assert [one.tier.name for one in placed] == ["realtime", "critical", "standard"]
    assert placed[2].reason == ("priority", "quota:standard")


def test_a_lane_that_rejects_refuses():
    lanes = {"realtime": Limits(requests_per_min=6)}
    tats: quota.Tats = {}
    who = door(TenantRules(tier_limits=lanes))

    admit(who, tats, asked("realtime"), cost=1, now_ms=0)
    second = admit(who, tats, asked("realtime"), cost=1, now_ms=0)

    assert second.exceeded
    assert not admit(who, tats, asked("critical"), cost=1, now_ms=0).exceeded


def test_a_refused_request_is_charged_nowhere():
    tats: quota.Tats = {}
    who = door(
        TenantRules(limits=Limits(tokens_per_min=6000)), KeyRules(limits=Limits(requests_per_min=6))
    )

    admit(who, tats, asked("standard"), cost=10, now_ms=0)
    before = dict(tats)
    admit(who, tats, asked("standard"), cost=10, now_ms=0)

    assert tats == before


def test_the_lowest_lane_spent_as_well_refuses():
    lanes = {tier.name: Limits(requests_per_min=6, on_excess="demote") for tier in POLICY.tiers}
    tats: quota.Tats = {}
    who = door(TenantRules(tier_limits=lanes))

    answers = [admit(who, tats, asked("realtime"), cost=1, now_ms=0) for _ in range(6)]

    assert [bool(one.exceeded) for one in answers] == [False] * 5 + [True]
