"""The filters of ``{% load units %}``."""

from django import template

from dashboard.units import shown

register = template.Library()
for says in (shown.seconds, shown.span, shown.count, shown.percent):
    register.filter(says.__name__, says)
