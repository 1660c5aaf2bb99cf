from django.urls import path

from dashboard.tenants import report_views, usage_views, views

app_name = "tenants"
urlpatterns = [
    path("", views.page, name="page"),
    path("new/", views.new, name="new"),
    path("in-force/", views.in_force, name="in-force"),
    path("usage/", usage_views.of_all, name="usage"),
    path("usage.csv", usage_views.of_all_csv, name="usage-csv"),
    path("report/", report_views.of_all, name="report"),
    path("report.csv", report_views.of_all_csv, name="report-csv"),
]
