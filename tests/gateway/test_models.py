"""Rows: what is announced, what may never change, what the database itself refuses."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import ProtectedError

from gateway.core.policy import KeyRules, default_policy
from gateway.models import (
    AlreadyRotated,
    APIKey,
    Backend,
    BackendRow,
    Immutable,
    PolicyVersion,
    Revision,
    Tenant,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def moved():
    """How far the revision moved since the last look."""
    last = Revision.current()

    def moved() -> int:
        nonlocal last
        before, last = last, Revision.current()
        return last - before

    return moved


def test_making_changing_and_removing_a_row_are_announced(moved):
    tenant = Tenant.objects.create(slug="acme", name="Acme")
    assert moved() == 1

    tenant.status = Tenant.Status.SUSPENDED
    tenant.save()
    assert moved() == 1

    tenant.delete()
    assert moved() == 1


def test_changes_of_many_rows_are_announced(moved):
    Backend.objects.bulk_create([Backend(name=f"gpu-{n}", url="http://x") for n in range(3)])
    assert moved() == 1

    Backend.objects.filter(pool="default").update(enabled=False)
    assert moved() == 1

    Backend.objects.bulk_update([Backend.objects.get(name="gpu-0")], ["url"])
    assert moved() >= 1

    Backend.objects.all().delete()
    assert moved() == 1


def test_a_change_that_is_rolled_back_is_not_announced(moved):
    with transaction.atomic():
        Tenant.objects.create(slug="acme", name="Acme")
        transaction.set_rollback(True)

    assert moved() == 0


def test_the_last_use_of_a_key_is_noted_without_announcing_it(acme, moved):
    key, _ = APIKey.objects.issue(acme, "ci")
    moved()

    APIKey.objects.all().touch({key.id8: key.created_at})

    key.refresh_from_db()
    assert key.last_used_at == key.created_at
    assert moved() == 0


def test_a_manager_cannot_delete_everything():
    assert not hasattr(Tenant.objects, "delete")
    assert not hasattr(PolicyVersion.objects, "delete")


def test_a_published_version_never_changes():
    version = PolicyVersion.objects.publish(default_policy(), "first")

    version.message = "second"
    for change in (
        version.save,
        version.delete,
        lambda: PolicyVersion.objects.update(message="second"),
        lambda: PolicyVersion.objects.all().delete(),
    ):
        with pytest.raises(Immutable):
            change()

    assert PolicyVersion.objects.get().message == "first"


def test_publishing_counts_up_and_the_newest_is_in_force(moved):
    assert PolicyVersion.objects.newest() is None
    ada = User.objects.create_user("ada")

    for message in ("first", "second"):
        PolicyVersion.objects.publish(default_policy(), message, ada)

    newest = PolicyVersion.objects.newest()
    assert (newest.number, newest.message, newest.author) == (2, "second", ada)
    assert newest.as_policy() == default_policy()
    assert moved() >= 2


def test_a_policy_that_contradicts_itself_is_not_published(moved):
    policy = default_policy()
    broken = type(policy)(tiers=policy.tiers, default_tier="nowhere")

    with pytest.raises(ValueError, match="there is no tier 'nowhere'"):
        PolicyVersion.objects.publish(broken, "broken")

    assert PolicyVersion.objects.newest() is None
    assert moved() == 0


def test_a_version_outlives_its_author():
    ada = User.objects.create_user("ada")
    version = PolicyVersion.objects.publish(default_policy(), "first", ada)

    ada.delete()

    version.refresh_from_db()
    assert version.author is None


def test_an_issued_key_is_stored_as_a_digest_alone(acme):
    row, key = APIKey.objects.issue(acme, "ci", kind="test", rules=KeyRules(ceiling=0))

    row.refresh_from_db()
    assert (row.kind, row.id8, row.as_rules().ceiling) == ("test", key.split("_")[2], 0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM gateway_apikey")
        assert key.split("_")[3][:43] not in str(cursor.fetchall())


def test_a_name_is_in_use_once_a_tenant(acme, birch):
    row, _ = APIKey.objects.issue(acme, "ci")
    APIKey.objects.issue(birch, "ci")

    with pytest.raises(IntegrityError), transaction.atomic():
        APIKey.objects.issue(acme, "ci")
    row.status = APIKey.Status.REVOKED
    row.save()
    APIKey.objects.issue(acme, "ci")

    assert APIKey.objects.filter(tenant=acme).in_use().count() == 1


def test_a_tenant_with_keys_is_not_deleted(acme):
    APIKey.objects.issue(acme, "ci")

    with pytest.raises(ProtectedError):
        acme.delete()


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (Tenant, {"slug": "x", "status": "gone"}),
        (Backend, {"name": "x", "url": "http://x", "scheduling_policy": "lifo"}),
        (Backend, {"name": "x", "url": "http://x", "max_in_flight": 0}),
        (Revision, {"pk": 2}),
    ],
)
def test_the_database_itself_refuses_what_makes_no_sense(model, wrong):
    with pytest.raises(IntegrityError), transaction.atomic():
        model.objects.create(**wrong)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("http://gpu-1:65535/v", True),
        ("http://gpu-1", True),
        ("http://gpu-1:65536", False),
        ("http://gpu-1:port", False),
        ("http://[::1", False),
        ("gpu-1:8000", False),
    ],
)
def test_an_address_that_no_gateway_could_dial_is_refused(url, taken):
    try:
        Backend(name="gpu-1", url=url).clean_fields()
        was_taken = True
    except ValidationError as error:
        was_taken = "url" not in error.message_dict

    assert was_taken is taken


def test_backends_are_read_as_values():
    Backend.objects.create(name="gpu-1", url="http://gpu-1:8000", max_in_flight=32)

    assert Backend.objects.all().as_rows() == (
        BackendRow("gpu-1", "default", "http://gpu-1:8000", "unknown", 32, True),
    )


@pytest.mark.django_db(transaction=True)
def test_every_migration_can_be_taken_back():
    latest = MigrationExecutor(
        connection
    ).loader.graph.leaf_nodes()  # taking ours back takes others along

    MigrationExecutor(connection).migrate([("gateway", None)])
    assert "gateway_tenant" not in connection.introspection.table_names()

    MigrationExecutor(connection).migrate(latest)
    assert "gateway_tenant" in connection.introspection.table_names()


def test_rotating_makes_one_successor_with_the_same_rights(acme, moved):
    rules = KeyRules(ceiling=0, networks=("10.0.0.0/8",))
    key, _ = APIKey.objects.issue(acme, "prod-1", service="chat", rules=rules)
    at = key.created_at
    moved()

    successor, whole = key.rotate(at, timedelta(hours=1), "prod-2", None)

    assert moved() == 2
    assert whole.split("_")[2] == successor.id8
    assert (successor.replaces, successor.service, successor.as_rules()) == (key, "chat", rules)
    assert (key.status, key.retires_at) == ("active", at + timedelta(hours=1))
    with pytest.raises(AlreadyRotated):
        APIKey.objects.get(pk=key.pk).rotate(at, timedelta(0), "prod-3", None)
    assert APIKey.objects.count() == 2


def test_a_rotation_without_overlap_revokes(acme):
    key, _ = APIKey.objects.issue(acme, "prod-1")

    key.rotate(key.created_at, timedelta(0), "prod-1", None)

    assert APIKey.objects.get(pk=key.pk).status == "revoked"


def test_a_rotation_that_fails_leaves_the_old_key_as_it_was(acme):
    key, _ = APIKey.objects.issue(acme, "prod-1")
    APIKey.objects.issue(acme, "taken")

    with pytest.raises(IntegrityError), transaction.atomic():
        key.rotate(key.created_at, timedelta(0), "taken", None)

    again = APIKey.objects.get(pk=key.pk)
    assert (again.status, again.rotated_at) == ("active", None)
