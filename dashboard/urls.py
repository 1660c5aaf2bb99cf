"""Which concern answers which address.  /v1 and its neighbours never come here: see asgi.py."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from dashboard.live.views import live_api

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="live:page"), name="home"),
    path("live/", include("dashboard.live.urls")),
    path("accounts/", include("dashboard.accounts.urls")),
    path("api/v1/live", live_api, name="live-api"),
    path("_admin/", admin.site.urls),
]
