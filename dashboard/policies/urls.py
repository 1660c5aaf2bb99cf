from django.urls import path

from dashboard.policies import editing, previewing, reviewing, shadowing, trying, views

app_name = "policies"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("status/", views.status, name="status"),
    path("take-over/", views.take_over, name="take-over"),
    path("undo/", views.undo, name="undo"),
    path("canary/", trying.card, name="canary"),
    path("canary/<int:version>/promote/", trying.promote, name="promote"),
    path("canary/<int:version>/back/", trying.take_back, name="take-back"),
    path("shadow/", shadowing.card, name="shadow"),
    path("shadow/end/", shadowing.stop, name="shadow-end"),
    path("at/", views.at, name="at"),
    path("scheduled/<int:pk>/cancel/", views.cancel, name="cancel"),
    path("compare/", views.compare, name="compare"),
    path("versions/<int:number>/", views.version, name="version"),
    path("versions/<int:number>/back/", views.back, name="back"),
    path("draft/preview/", previewing.page, name="preview"),
    path("draft/preview/<int:pk>/", previewing.progress, name="preview-progress"),
    path("draft/preview/<int:pk>/stop/", previewing.stop, name="preview-stop"),
    path("draft/review/", reviewing.review, name="review"),
    path("draft/merge/", reviewing.merge, name="merge"),
    path("draft/discard/", editing.discard, name="discard"),
    path("draft/tenants/<slug:slug>/", editing.sheet, {"section": "tenants"}, name="tenant"),
    path("draft/<slug:section>/", editing.sheet, name="sheet"),
]
