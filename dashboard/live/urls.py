from django.urls import path

from dashboard.live import actions, boards, line, lost, past, views

app_name = "live"
urlpatterns = [
    path("", views.page, name="page"),
    path("figures/", views.figures, name="figures"),
    path("history/", past.history, name="history"),
    path("board/", boards.board, name="board"),
    path("board/figures/", boards.figures, name="board-figures"),
    path("board/open/<str:secret>/", boards.open_link, name="board-open"),
    path("boards/", boards.boards, name="boards"),
    path("boards/new/", boards.make, name="board-make"),
    path("boards/<int:pk>/revoke/", boards.revoke, name="board-revoke"),
    path("line/", line.line, name="line"),
    path("lost/", lost.lost, name="lost"),
    path("line.csv", line.as_csv, name="line-csv"),
    path("why/<str:id>/", line.explained, name="why"),
    path("actions/", actions.page, name="actions"),
    path("actions/running/", actions.running, name="running"),
    path("actions/<int:pk>/", actions.one, name="order"),
    path("actions/<int:pk>/end/", actions.end, name="end"),
    path("actions/<int:pk>/extend/", actions.extend, name="extend"),
    path("actions/<int:pk>/undo/", actions.undo, name="undo"),
    path("actions/<str:verb>/", actions.act, name="act"),
]
