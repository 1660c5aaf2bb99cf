"""Who is asking: the order of checks, what each refusal tells, and how changes arrive."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from gateway import keys
from gateway.auth import EMPTY, Directory, allows_model
from gateway.core.canary import place
from gateway.core.policy import KeyRules, TenantRules, default_policy
from gateway.errors import GatewayError
from gateway.models import (
    APIKey,
    Backend,
    Override,
    PolicyVersion,
    Rollout,
    Shadow,
    Tenant,
)

CHAT = "/v1/chat/completions"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def now() -> list[float]:
    """The wall clock; set ``now[0]``."""
    return [1_764_000_000.0]


@pytest.fixture
def directory(acme, now) -> Directory:
    """Loaded with nothing but a policy that has rules for acme."""
    policy = default_policy()
    policy = type(policy)(
        tiers=policy.tiers, default_tier="standard", tenants={"acme": TenantRules(weight=7)}
    )
    PolicyVersion.objects.publish(policy, "first")
    directory = Directory(now=lambda: now[0])
    directory.load()
    return directory


@pytest.fixture
def issue(acme, directory):
    """Make a key with these columns, and let the directory know."""

    def issue(*, kind="live", rules=None, **columns) -> str:
        name = f"key {APIKey.objects.count()}"
        row, key = APIKey.objects.issue(acme, name, kind=kind, rules=rules)
        APIKey.objects.filter(pk=row.pk).update(**columns)
        directory.load()
        return key

    return issue


@pytest.fixture
def fresh(transactional_db, now) -> Iterator[Directory]:
    """Not loaded yet, and with a thread that sees what others commit."""
    directory = Directory(now=lambda: now[0])
    yield directory
    directory.close()


def refusal(directory: Directory, headers: dict[str, str], endpoint: str = CHAT) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        directory.authenticate(headers, endpoint)
    return refused.value


def moment(at: float):
    return timezone.datetime.fromtimestamp(at, timezone.timezone.utc)


def test_a_key_proves_its_tenant_and_brings_its_rules(directory, issue, acme):
    key = issue(rules=KeyRules(ceiling=0))

    caller = directory.authenticate(bearer(key), CHAT)

    assert (caller.tenant, caller.tenant_id, caller.kind) == ("acme", acme.pk, "live")
    assert (caller.key_id8, caller.key_rules.ceiling) == (key.split("_")[2], 0)
    assert (caller.tenant_rules.weight, caller.policy_version) == (7, 1)
    assert caller.policy is directory.state.policy


def test_keys_are_looked_for_in_three_headers_in_order(directory, issue):
    key, wrong = issue(), keys.mint("live").whole

    for headers in (
        bearer(key) | {"x-api-key": wrong, "api-key": wrong},
        {"authorization": f"bearer   {key} "} | {"x-api-key": wrong},
        {"x-api-key": key, "api-key": wrong},
        {"authorization": "Basic abc", "x-api-key": key},
        {"authorization": "", "x-api-key": "", "api-key": key},
    ):
        assert directory.authenticate(headers, CHAT).tenant == "acme"
    assert refusal(directory, bearer(wrong) | {"x-api-key": key}).code == "invalid_api_key"


def test_missing_malformed_unknown_and_wrong_get_one_answer(directory, issue):
    key = issue()
    stranger = keys.mint("live").whole
    body = f"lw_live_{key.split('_')[2]}_{'0' * 43}"
    forged = body + keys.checksum(body)

    answers = {
        (refused.status, refused.code, refused.message)
        for headers in ({}, bearer(""), bearer("sk-abc"), bearer(stranger), bearer(forged))
        for refused in [refusal(directory, headers)]
    }

    assert len(answers) == 1
    assert next(iter(answers))[:2] == (401, "invalid_api_key")


def test_a_mistyped_key_is_told_so(directory, issue):
    key = issue()

    refused = refusal(directory, bearer(key[:-1] + ("x" if key[-1] != "x" else "y")))

    assert refused.code == "invalid_api_key"
    assert "mistyped or cut off" in refused.message


@pytest.mark.parametrize(
    ("columns", "status", "code"),
    [
        ({"status": "disabled"}, 401, "api_key_disabled"),
        ({"status": "revoked"}, 401, "api_key_revoked"),
        ({"expires_at": moment(1_764_000_000)}, 401, "api_key_expired"),
        ({"not_before": moment(1_764_000_001)}, 401, "api_key_not_yet_valid"),
    ],
)
def test_whoever_proved_the_key_gets_the_true_reason(directory, issue, columns, status, code):
    key = issue(**columns)

    refused = refusal(directory, bearer(key))

    assert (refused.status, refused.code) == (status, code)
    assert key.split("_")[2] in refused.message
    assert key not in refused.message


def test_a_true_reason_is_never_told_without_the_secret(directory, issue):
    key = issue(status="revoked")
    body = key[: len("lw_live_12345678_")] + "0" * 43

    assert refusal(directory, bearer(body + keys.checksum(body))).code == "invalid_api_key"


def test_a_key_is_valid_between_its_two_moments(directory, issue, now):
    key = issue(not_before=moment(now[0]), expires_at=moment(now[0] + 10))

    assert directory.authenticate(bearer(key), CHAT)
    now[0] += 9.9
    assert directory.authenticate(bearer(key), CHAT)
    now[0] += 0.1
    assert refusal(directory, bearer(key)).code == "api_key_expired"


def test_checks_come_in_their_order(directory, issue, acme, now):
    key = issue(status="disabled", expires_at=moment(now[0] - 1), rules=KeyRules(endpoints=("/x",)))
    acme.status = Tenant.Status.SUSPENDED
    acme.save()

    order = []
    for repair in (
        lambda: APIKey.objects.update(status="active"),
        lambda: APIKey.objects.update(expires_at=None),
        lambda: Tenant.objects.update(status="active"),
    ):
        directory.load()
        order.append(refusal(directory, bearer(key)).code)
        repair()
    directory.load()
    order.append(refusal(directory, bearer(key)).code)

    assert order == [
        "api_key_disabled",
        "api_key_expired",
        "tenant_suspended",
        "endpoint_not_allowed",
    ]


def test_a_key_reaches_only_its_endpoints_and_models(directory, issue):
    key = issue(rules=KeyRules(endpoints=(CHAT,), models=("qwen",)))

    caller = directory.authenticate(bearer(key), CHAT)
    refused = refusal(directory, bearer(key), "/v1/embeddings")

    assert (refused.status, refused.code) == (403, "endpoint_not_allowed")
    assert [allows_model(caller)(model) for model in ("qwen", "llama")] == [True, False]


def test_a_key_without_lists_reaches_everything(directory, issue):
    caller = directory.authenticate(bearer(issue()), "/v1/embeddings")

    assert allows_model(caller)("anything")


def test_admin_keys_open_what_is_theirs_and_no_models(directory, issue):
    admin = issue(kind="admin")

    assert directory.authenticate(bearer(admin), "/metrics").kind == "admin"
    assert refusal(directory, bearer(admin)).code == "endpoint_not_allowed"


def test_a_live_key_opens_nothing_of_the_admins(directory, issue):
    refused = refusal(directory, bearer(issue()), "/metrics")

    assert (refused.status, refused.code) == (403, "endpoint_not_allowed")


def test_a_key_whose_pepper_is_lost_is_dead_and_the_log_says_so(directory, issue, caplog):
    key = issue(pepper_id="lost")

    assert refusal(directory, bearer(key)).code == "invalid_api_key"
    assert "keys made with pepper {'lost'} cannot be used" in caplog.text


def test_an_unknown_key_costs_what_a_known_one_costs(directory, issue, monkeypatch):
    """Counted and not timed: a machine that is shared would make a clock lie."""
    known = issue()
    body = known[: len("lw_live_12345678_")] + "0" * 43
    digested = []
    digest = keys.digest
    monkeypatch.setattr(keys, "digest", lambda *of: digested.append(of) or digest(*of))

    for key in (body + keys.checksum(body), keys.mint("live").whole, issue(pepper_id="lost")):
        digested.clear()
        assert refusal(directory, bearer(key)).code == "invalid_api_key"
        assert [(len(pepper), whole) for whole, pepper in digested] == [(32, key)]


def test_a_change_is_seen_by_the_next_refresh(fresh):
    assert asyncio.run(fresh.refresh())
    assert fresh.state.policy_version == 0

    PolicyVersion.objects.publish(default_policy(), "first")
    Backend.objects.create(name="gpu-1", url="http://gpu-1:8000")
    tenant = Tenant.objects.create(slug="acme", name="Acme")
    key = APIKey.objects.issue(tenant, "ci")[1]
    assert asyncio.run(fresh.refresh())

    assert fresh.authenticate(bearer(key), CHAT).tenant == "acme"
    assert fresh.state.policy_version == 1
    assert [row.name for row in fresh.state.backends] == ["gpu-1"]
    assert not asyncio.run(fresh.refresh())

    APIKey.objects.update(status="revoked")
    assert asyncio.run(fresh.refresh())
    assert refusal(fresh, bearer(key)).code == "api_key_revoked"


def test_a_request_keeps_the_policy_it_began_with(fresh):
    PolicyVersion.objects.publish(default_policy(), "first")
    asyncio.run(fresh.refresh())
    before = fresh.state

    PolicyVersion.objects.publish(default_policy(), "second")
    asyncio.run(fresh.refresh())

    assert (before.policy_version, fresh.state.policy_version) == (1, 2)


def test_without_its_database_the_last_state_stays_in_force(fresh, now, caplog):
    now[0] = 100.0
    PolicyVersion.objects.publish(default_policy(), "first")
    asyncio.run(fresh.refresh())
    now[0] = 200.0

    rename("gateway_revision", "away")
    try:
        assert not asyncio.run(fresh.refresh())
    finally:
        rename("away", "gateway_revision")

    assert (fresh.state.policy_version, fresh.state.loaded_at) == (1, 100.0)
    assert "stay in force" in caplog.text


# One row that cannot be read stops nothing else


@pytest.mark.parametrize(
    ("break_one", "told"),
    [
        (lambda: policy_by_hand(2), "policy v2 (the one before stays in force)"),
        (lambda: on_trial(policy_by_hand(2)), "policy v2 (nobody follows it)"),
        (lambda: None, ""),
        (lambda: update(APIKey, rules=["all"]), "(it is refused)"),
        (lambda: update(Backend, url="http://gpu-1:70000"), "backend gpu-1 (it gets nothing)"),
        (lambda: ordered("pause", tier="batch", selection=[]), "(nobody carries it out)"),
        (lambda: ordered("boost", by=1, selection={"tier": "batch"}), "(nobody carries it out)"),
        (lambda: shadow({"tiers": "none"}), "(it counts nothing)"),
    ],
    ids=["policy", "canary", "nothing", "key", "backend", "pause", "boost", "shadow"],
)
def test_whatever_cannot_be_read_a_revoked_key_is_refused(fresh, caplog, break_one, told):
    fresh._now = time.time
    PolicyVersion.objects.publish(default_policy(), "first")
    Backend.objects.create(name="gpu-1", url="http://gpu-1:8000")
    tenant = Tenant.objects.create(slug="acme", name="Acme")
    other = APIKey.objects.issue(tenant, "other")[0]
    order = ordered("pause", tier="standard")
    asyncio.run(fresh.refresh())

    break_one()
    row, key = APIKey.objects.issue(tenant, "ci")
    assert asyncio.run(fresh.refresh())
    assert fresh.authenticate(bearer(key), CHAT).policy_version == 1
    row.revoke()
    assert asyncio.run(fresh.refresh())

    assert refusal(fresh, bearer(key)).code == "api_key_revoked"
    assert other.id8 in fresh.state.entries
    assert order.pk in [one.id for one in fresh.state.overrides]
    assert [told in one for one in fresh.state.unreadable] == [True] * bool(told)
    assert told in caplog.text


def test_a_key_whose_rules_cannot_be_read_is_refused_and_told_why(directory, issue):
    key = issue(rules=KeyRules(ceiling=0))
    update(APIKey, rules={"ceiling": "none"})
    directory.load()

    assert refusal(directory, bearer(key)).code == "api_key_unreadable"


def test_without_any_policy_that_can_be_read_nobody_gets_in(fresh, caplog):
    policy_by_hand(1)

    assert not asyncio.run(fresh.refresh())

    assert fresh.state is EMPTY
    assert "all versions of the policy" in caplog.text


def policy_by_hand(number: int) -> int:
    PolicyVersion.objects.create(number=number, document={"tiers": []}, message="by hand")
    return number


def on_trial(version: int) -> Rollout:
    return Rollout.objects.create(version=version, base=version - 1, percent=50, bar=500_000)


def update(model: type[APIKey] | type[Backend], **columns: object) -> None:
    model.objects.update(**columns)


def shadow(document: object) -> None:
    end = timezone.now() + timedelta(hours=1)
    Shadow.objects.create(document=document, base=1, author="ada", ends_at=end)


def ordered(verb: str, **columns) -> Override:
    at = timezone.now()
    ends = at + timedelta(hours=1) if verb == "pause" else None
    who = {"owner": "otto", "changed_by": "otto", "scope": verb, "pool": "default"}
    when = {"begun_at": at, "changed_at": at, "ends_at": ends}
    return Override.objects.create(verb=verb, key=secrets.token_hex(8), **who, **when, **columns)


# What changes while it is read


def test_a_canary_that_starts_or_ends_while_it_is_read_is_never_everybodys(
    transactional_db, acme, birch
):
    PolicyVersion.objects.publish(default_policy(), "first")
    for tenant in (acme, birch):
        APIKey.objects.issue(tenant, "prod")
    directory = Directory()
    bar = max(place(acme.pk), place(birch.pk))
    trial = None

    def step() -> None:
        """A canary starts; or the one that runs is taken back."""
        nonlocal trial
        number = PolicyVersion.objects.newest().number
        with transaction.atomic():
            version = PolicyVersion.objects.publish(default_policy(), "next").number
            if trial is None:
                trial = Rollout.objects.create(version=version, base=number, percent=50, bar=bar)
                tried.add(version)
            else:
                Rollout.objects.filter(pk=trial.pk).update(state=Rollout.State.TAKEN_BACK)
                trial = None

    tried: set[int] = set()
    queries = 0
    while True:
        for _ in ("start", "end"):
            with before_query(queries, step) as came:
                directory.load()
            followed = [entry.caller.policy_version for entry in directory.state.entries.values()]
            assert directory.state.policy_version not in tried
            assert sum(version in tried for version in followed) <= 1
        if not came:
            break
        queries += 1
    assert queries > 5


@contextmanager
def before_query(number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Let ``act`` be committed just before that query of the block; yields what is empty if the
    block had fewer."""
    came: list[int] = []
    seen = -1
    acting = False

    def watch(execute, sql, params, many, context):
        nonlocal seen, acting
        if not acting:
            seen += 1
            if seen == number:
                acting = True
                act()
                acting = False
                came.append(seen)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield came


def rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_nobody_is_known_before_the_first_load():
    assert EMPTY.policy_version == 0
    assert refusal(Directory(), bearer(keys.mint("live").whole)).code == "invalid_api_key"


async def test_the_loop_turns_while_the_directory_reloads(fresh):
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await fresh.refresh()
    turning.cancel()

    assert turns > 1


@pytest.mark.parametrize(
    ("networks", "address", "code"),
    [
        (("10.2.0.0/16",), "10.2.7.9", ""),
        (("10.2.0.0/16",), "10.3.0.1", "ip_not_allowed"),
        (("192.0.2.7", "2001:db8::/32"), "2001:db8::1", ""),
        (("192.0.2.7", "2001:db8::/32"), "192.0.2.7", ""),
        (("192.0.2.7", "2001:db8::/32"), "192.0.2.8", "ip_not_allowed"),
        (("10.2.0.0/16",), "::ffff:10.2.7.9", ""),
        (("0.0.0.0/0",), "2001:db8::1", "ip_not_allowed"),
        (("10.2.0.0/16",), "", "ip_not_allowed"),
        (("10.2.0.0/16",), "not an address", "ip_not_allowed"),
        (("home",), "10.2.7.9", "ip_not_allowed"),
        ((), "", ""),
    ],
)
def test_a_key_bound_to_networks_is_refused_from_elsewhere(
    directory, issue, networks, address, code
):
    key = issue(rules=KeyRules(networks=networks))

    if not code:
        assert directory.authenticate(bearer(key), CHAT, address).tenant == "acme"
        return
    with pytest.raises(GatewayError) as refused:
        directory.authenticate(bearer(key), CHAT, address)
    assert (refused.value.status, refused.value.code) == (403, code)


def test_a_network_that_cannot_be_read_is_told_to_the_operator(directory, issue, caplog):
    key = issue(rules=KeyRules(networks=("home",)))

    assert f"the key {key.split('_')[2]} (it lets nobody in)" in caplog.text


def test_where_a_key_may_be_used_is_told_only_to_who_proved_it(directory, issue):
    key = issue(rules=KeyRules(networks=("10.0.0.0/8",)))
    body = key[: len("lw_live_12345678_")] + "0" * 43

    assert refusal(directory, bearer(body + keys.checksum(body))).code == "invalid_api_key"


def test_a_retiring_key_works_until_its_end_and_its_replies_say_so(directory, issue, now):
    rotated, retires = moment(now[0] - 60), moment(now[0] + 3600)
    key = issue(rotated_at=rotated, retires_at=retires)

    notices = directory.authenticate(bearer(key), CHAT).notices

    assert notices == {
        "deprecation": "@1763999940",
        "sunset": "Mon, 24 Nov 2025 17:00:00 GMT",
    }
    now[0] += 3600
    assert refusal(directory, bearer(key)).code == "api_key_rotated"


def test_replies_tell_of_an_expiry_from_fourteen_days_before_on(directory, issue, now):
    key = issue(expires_at=moment(now[0] + 15 * 86_400))

    assert directory.authenticate(bearer(key), CHAT).notices == {}
    now[0] += 86_400
    assert directory.authenticate(bearer(key), CHAT).notices == {
        "sunset": "Tue, 09 Dec 2025 16:00:00 GMT"
    }


def test_a_key_without_an_end_has_nothing_to_tell(directory, issue):
    assert directory.authenticate(bearer(issue()), CHAT).notices == {}
