"""Which concern answers which address.  /v1 and its neighbours never come here: see asgi.py."""

from django.contrib import admin
from django.urls import include, path

from dashboard.accounts import breakglass
from dashboard.accounts.views import home
from dashboard.api import site as api
from dashboard.live import doctor
from dashboard.live.views import live_api
from dashboard.tenants import revoke

# By its own form one would come in past the second factor.
admin.site.has_permission = breakglass.may_enter  # type: ignore[method-assign]
admin.site.login = breakglass.door  # type: ignore[assignment]

urlpatterns = [
    path("", home, name="home"),
    path("live/", include("dashboard.live.urls")),
    path("doctor/", doctor.page, name="doctor"),
    path("accounts/", include("dashboard.accounts.urls")),
    path("people/", include("dashboard.accounts.people_urls")),
    path("tenants/", include("dashboard.tenants.urls")),
    path("tenant/<slug:slug>/", include("dashboard.tenants.tenant_urls")),
    path("policy/", include("dashboard.policies.urls")),
    path("alerts/channels/", include("dashboard.delivery.urls")),
    path("alerts/", include("dashboard.alerts.urls")),
    path("revoke/", revoke.page, name="revoke"),
    path("audit/", include("dashboard.audit.urls")),
    path("api/v1/live", live_api, name="live-api"),
    path("api/v1/", api.urls),
    path("_admin/", admin.site.urls),
]
