"""Values of a policy in templates."""

from django import template

from dashboard.policies import diff, units

register = template.Library()
register.filter("said_seconds", units.seconds_said)
register.filter("typed_count", units.count_text)
register.filter("typed_priority", units.priority_text)
register.filter("tier_text", diff.tier_text)
