"""The runbook: whatever is judged has a section, and each link to one leads somewhere."""

import re

import pytest
import yaml
from django.conf import settings
from django.urls import reverse

from dashboard.alerts.metrics import METRICS
from dashboard.alerts.models import Rule
from dashboard.alerts.runbook import sections

pytestmark = pytest.mark.django_db


def test_each_metric_has_one_section_and_prometheus_one_more():
    keys = [key for section in sections()[1] for key in section.keys]

    assert sorted(keys) == sorted([*METRICS, "silent"])


def test_the_links_of_shipped_rules_lead_into_the_page(signed_in):
    page = signed_in("vic", "viewer").get(reverse("alerts:runbook")).content.decode()
    anchors = set(re.findall(r'<a id="(\w+)">', page))

    for rule in Rule.objects.all():
        address, _, anchor = rule.what_to_do.partition("#")
        assert address == f"{settings.LANEWAY_URL}{reverse('alerts:runbook')}"
        assert anchor in anchors
    assert Rule.objects.count() > 10


def test_a_rules_own_runbook_comes_first():
    assert Rule(metric="queue", runbook="https://wiki.example/q").what_to_do.endswith("/q")


def test_the_links_of_the_prometheus_rules_lead_into_the_page(signed_in):
    page = signed_in("vic", "viewer").get(reverse("alerts:runbook")).content.decode()
    rules = yaml.safe_load((settings.BASE_DIR / "deploy" / "prometheus-rules.yaml").read_text())

    for rule in rules["groups"][0]["rules"]:
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert path == "{{ $externalLabels.laneway }}" + reverse("alerts:runbook")
        assert f'<a id="{anchor}">' in page
