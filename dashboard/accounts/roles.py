"""The roles over the whole installation, by name.  Free of Django, so that the settings know them too."""

VIEWER, ON_CALL, ADMIN, SECURITY = "viewer", "on-call", "admin", "security"
ROLES = (VIEWER, ON_CALL, ADMIN, SECURITY)
GUARDED = (ADMIN, SECURITY)  # they need a second factor
