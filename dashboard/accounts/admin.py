"""Break-glass: who belongs to which tenant, when no page can say it any more."""

from django.contrib import admin

from dashboard.accounts.models import Membership

admin.site.register(Membership, list_display=["user", "tenant", "role"], list_filter=["role"])
