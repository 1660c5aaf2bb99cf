from django.urls import path

from dashboard.audit import views

app_name = "audit"
urlpatterns = [
    path("", views.page, name="page"),
    path("audit.csv", views.export, {"form": "csv"}, name="csv"),
    path("audit.jsonl", views.export, {"form": "jsonl"}, name="jsonl"),
]
