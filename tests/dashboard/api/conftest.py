"""A program with an admin key of the tenant ``ops``, and one published policy."""

import json

import pytest
from django.test import Client

from gateway.core.policy import KeyRules, default_policy
from gateway.models import APIKey, PolicyVersion, Tenant


@pytest.fixture
def first(db):
    return PolicyVersion.objects.publish(default_policy(), "the first")


@pytest.fixture
def ops(db):
    return Tenant.objects.create(slug="ops", name="Operations")


@pytest.fixture
def robot(ops):
    """The row of the admin key that calls; ``whole`` is the key."""
    row, row.whole = _issued(ops)
    return row


def _issued(ops):
    return APIKey.objects.issue(ops, "terraform", kind="admin", rules=KeyRules(scope="write"))


@pytest.fixture
def call(robot, first):
    """Call the API as the robot: ``call("POST", "/tenants", {…}, if_match=etag)``."""
    client = Client()

    def ask(method, path, body=None, *, key=robot.whole, query="", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.generic(
            method,
            f"/api/v1{path}{query}",
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers={"authorization": f"Bearer {key}", **named},
        )

    return ask


@pytest.fixture
def refused():
    """Status, code and field of a refusal."""

    def told(answer):
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"].endswith((".", "…")) or ": " in error["message"]
        return answer.status_code, error["code"], error["param"]

    return told
