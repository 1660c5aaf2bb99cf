from django.urls import path

from dashboard.live import past, views

app_name = "live"
urlpatterns = [
    path("", views.page, name="page"),
    path("figures/", views.figures, name="figures"),
    path("history/", past.history, name="history"),
]
