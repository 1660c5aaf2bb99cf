"""Whatever is sent, by the served OpenAPI document or against it: no 500, and answers as documented.

Most calls are about a tenant, a key and a version that are there.
"""

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dashboard.api.site import api
from gateway.core.policy import default_policy, dump
from gateway.models import APIKey

pytestmark = pytest.mark.django_db
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    pytest.param(path, method, id=told["operationId"].rpartition("_api_")[2])
    for path, methods in api.get_openapi_schema()["paths"].items()
    for method, told in methods.items()
]


@pytest.fixture(autouse=True)
def one_connection():
    """A request's end must not close what the test's transaction runs on."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_call_is_answered_as_documented(path, method, mode, robot, first, acme):
    key, _ = APIKey.objects.issue(acme, "prod-1")
    operation = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())[
        path
    ][method]
    there = {"slug": "acme", "id8": key.id8, "number": 1}
    known = {name: value for name, value in there.items() if f"{{{name}}}" in path}
    about_known = operation.as_strategy(generation_mode=mode, path_parameters=known)
    anything = operation.as_strategy(generation_mode=mode)
    any_case = st.sampled_from([about_known, about_known, anything]).flatmap(lambda one: one)

    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=any_case, matches=st.booleans(), share=st.sampled_from([0.2, 0.3, 9]))
    def sent(case, matches, share):
        if matches and isinstance(case.body, dict) and "document" in case.body:
            case.body["document"] = dump(default_policy()) | {"rescue_share": share}
        headers = {"Authorization": f"Bearer {robot.whole}"}
        if matches:
            headers["If-Match"] = "*"
        case.call_and_validate(headers=headers, checks=CHECKS)

    sent()
