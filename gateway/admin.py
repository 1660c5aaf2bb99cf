"""Break-glass: Django's own admin over the gateway's rows, for superusers, when all else fails.

A published policy and the digest of a key cannot be edited here either.
"""

from typing import Any

from django.contrib import admin

from gateway.models import APIKey, Backend, PolicyVersion, Tenant

admin.site.site_header = "Laneway: break-glass"


def _never(*_: Any) -> bool:
    return False


admin.site.register(Tenant, list_display=["slug", "name", "status"])
admin.site.register(
    APIKey,
    list_display=["id8", "tenant", "name", "kind", "status", "expires_at", "last_used_at"],
    list_filter=["status", "kind"],
    search_fields=["id8", "name"],
    readonly_fields=["id8", "tenant", "kind", "pepper_id", "last_used_at"],
    has_add_permission=_never,
)
admin.site.register(
    PolicyVersion,
    list_display=["number", "message", "author", "published_at"],
    has_add_permission=_never,
    has_change_permission=_never,
    has_delete_permission=_never,
)
admin.site.register(
    Backend, list_display=["name", "pool", "url", "scheduling_policy", "max_in_flight", "enabled"]
)
