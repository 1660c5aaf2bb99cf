"""Below ``tenant/<slug>/``."""

from django.urls import path, re_path

from dashboard.tenants import key_views, report_views, usage_views, views, waiting

app_name = "tenant"
KEY = r"^keys/(?P<id8>[0-9A-Za-z]{8})/"
urlpatterns = [
    path("", views.tenant_page, name="page"),
    path("waiting/", waiting.page, name="waiting"),
    path("waiting/evict/", waiting.evict, name="evict"),
    path("suspend/", views.suspend, name="suspend"),
    path("resume/", views.resume, name="resume"),
    path("members/", views.add_member, name="member-add"),
    path("members/<str:name>/remove/", views.remove_member, name="member-remove"),
    path("usage/", usage_views.of_tenant, name="usage"),
    path("usage.csv", usage_views.of_tenant_csv, name="usage-csv"),
    path("report/", report_views.of_tenant, name="report"),
    path("report.csv", report_views.of_tenant_csv, name="report-csv"),
    path("keys/new/", key_views.new, name="key-new"),
    re_path(KEY + "edit/$", key_views.edit, name="key-edit"),
    re_path(KEY + "rotate/$", key_views.rotate, name="key-rotate"),
    re_path(KEY + "uses/$", key_views.uses, name="key-uses"),
    re_path(KEY + "first/$", key_views.first_request, name="key-first"),
    re_path(KEY + "(?P<action>disable|enable|revoke)/$", key_views.change, name="key-change"),
]
