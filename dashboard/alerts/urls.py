from django.urls import path

from dashboard.alerts import rule_views, silence_views, views

app_name = "alerts"
urlpatterns = [
    path("", views.page, name="page"),
    path("badge/", views.badge, name="badge"),
    path("history/", views.history, name="history"),
    path("incidents/<int:pk>/", views.incident, name="incident"),
    path("incidents/<int:pk>/markdown/", views.markdown, name="markdown"),
    path("incidents/<int:pk>/line/", views.line, name="line"),
    path("incidents/<int:pk>/ack/", views.ack, name="ack"),
    path("incidents/<int:pk>/unack/", views.unack, name="unack"),
    path("ack/<str:token>/", views.ack_link, name="ack-link"),
    path("notes/", views.notes, name="notes"),
    path("notes/<int:pk>/", views.note, name="note"),
    path("notes/<int:pk>/delete/", views.note_delete, name="note-delete"),
    path("runbook/", rule_views.runbook, name="runbook"),
    path("rules/", rule_views.rules, name="rules"),
    path("rules/new/", rule_views.new, name="rule-new"),
    path("rules/would/", rule_views.would, name="would"),
    path("rules/<int:pk>/", rule_views.rule, name="rule"),
    path("rules/<int:pk>/delete/", rule_views.delete, name="rule-delete"),
    path("silences/", silence_views.silences, name="silences"),
    path("silences/new/", silence_views.new, name="silence-new"),
    path("silences/<int:pk>/end/", silence_views.end, name="silence-end"),
]
