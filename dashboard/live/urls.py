from django.urls import path

from dashboard.live import line, past, views

app_name = "live"
urlpatterns = [
    path("", views.page, name="page"),
    path("figures/", views.figures, name="figures"),
    path("history/", past.history, name="history"),
    path("line/", line.line, name="line"),
    path("why/<str:id>/", line.explained, name="why"),
]
