from django.urls import path

from dashboard.live import actions, line, past, views

app_name = "live"
urlpatterns = [
    path("", views.page, name="page"),
    path("figures/", views.figures, name="figures"),
    path("history/", past.history, name="history"),
    path("line/", line.line, name="line"),
    path("why/<str:id>/", line.explained, name="why"),
    path("actions/", actions.page, name="actions"),
    path("actions/running/", actions.running, name="running"),
    path("actions/<int:pk>/", actions.one, name="order"),
    path("actions/<int:pk>/end/", actions.end, name="end"),
    path("actions/<int:pk>/extend/", actions.extend, name="extend"),
    path("actions/<int:pk>/undo/", actions.undo, name="undo"),
    path("actions/<str:verb>/", actions.act, name="act"),
]
