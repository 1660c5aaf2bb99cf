"""What an installation starts with."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User

from gateway import seed
from gateway.core.policy import default_policy
from gateway.models import APIKey, Backend, PolicyVersion, Tenant

pytestmark = pytest.mark.django_db


def enabled() -> list[tuple[str, str]]:
    return list(Backend.objects.filter(enabled=True).values_list("name", "url"))


def test_the_default_policy_is_published_once():
    seed.policy()
    seed.policy()

    assert PolicyVersion.objects.get().as_policy() == default_policy()


def test_the_first_person_gets_a_password_once():
    password = seed.admin()

    ada = User.objects.get(username="admin")
    assert ada.check_password(password)
    assert ada.is_superuser
    assert len(password) == 16
    assert seed.admin() is None


def test_the_first_key_comes_with_the_first_tenant_only():
    assert seed.first_key().startswith("lw_live_")
    assert seed.first_key() is None
    assert APIKey.objects.get().tenant.slug == "default"


def test_the_servers_that_are_named_are_the_ones_used():
    seed.simulated_backend("http://127.0.0.1:9000", 16)

    seed.backends(["http://gpu-1:8000", "http://gpu-2:8000"])
    assert enabled() == [
        ("vllm-gpu-1-8000", "http://gpu-1:8000"),
        ("vllm-gpu-2-8000", "http://gpu-2:8000"),
    ]

    seed.backends(["http://gpu-2:8000"])
    assert enabled() == [("vllm-gpu-2-8000", "http://gpu-2:8000")]

    seed.backends(["http://gpu-1:8000"])
    assert enabled() == [("vllm-gpu-1-8000", "http://gpu-1:8000")]
    assert Backend.objects.count() == 3


def test_what_an_administrator_said_of_a_server_stays():
    seed.backends(["http://gpu-1:8000"])
    Backend.objects.update(scheduling_policy="priority", max_in_flight=48)

    seed.backends(["http://gpu-1:8000"])

    row = Backend.objects.get()
    assert (row.scheduling_policy, row.max_in_flight) == ("priority", 48)


def test_addresses_that_look_alike_get_names_of_their_own():
    seed.backends(["http://gpu-1:8000/a", "http://gpu-1:8000/b"])

    assert {name for name, _ in enabled()} == {"vllm-gpu-1-8000", "vllm-gpu-1-8000-2"}


def test_a_simulated_server_moves_with_its_port():
    seed.simulated_backend("http://127.0.0.1:9000", 16)
    assert not seed.has_own_backends()

    seed.simulated_backend("http://127.0.0.1:9001", 16)

    assert enabled() == [("simvllm", "http://127.0.0.1:9001")]


def test_demo_tenants_come_with_rules_and_only_once():
    seed.policy()
    seed.demo_tenants()
    seed.demo_tenants()

    newest = PolicyVersion.objects.newest()
    assert newest.number == 2
    assert newest.as_policy().tenants.keys() == {"acme", "birch", "cedar"}
    assert newest.as_policy().tenants["cedar"].ceiling == 0
    assert set(Tenant.objects.values_list("slug", flat=True)) == {"acme", "birch", "cedar"}


def test_each_demo_start_makes_fresh_keys_and_revokes_the_last():
    seed.demo_tenants()
    kept = APIKey.objects.issue(Tenant.objects.get(slug="acme"), "ci")[0]
    first = seed.demo_keys(datetime(2026, 1, 1, 12, 0, tzinfo=UTC))
    second = seed.demo_keys(datetime(2026, 1, 1, 12, 0, tzinfo=UTC))

    assert first.keys() == second.keys() == {"acme", "birch", "cedar"}
    in_use = set(APIKey.objects.in_use().values_list("id8", flat=True))
    assert in_use == {key.split("_")[2] for key in second.values()} | {kept.id8}
