"""Values of a policy in templates."""

from django import template

from dashboard.policies import diff
from dashboard.units import typed

register = template.Library()
register.filter("said_seconds", typed.seconds_said)
register.filter("typed_count", typed.count_text)
register.filter("typed_priority", typed.priority_text)
register.filter("tier_text", diff.tier_text)
