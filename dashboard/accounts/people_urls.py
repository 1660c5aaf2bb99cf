from django.urls import path, re_path

from dashboard.accounts import people

app_name = "people"
urlpatterns = [
    path("", people.page, name="page"),
    path("invite/", people.invite, name="invite"),
    path("of/<str:name>/", people.one, name="one"),
    path("of/<str:name>/roles/", people.roles, name="roles"),
    path("of/<str:name>/tenants/", people.member_add, name="member-add"),
    path("of/<str:name>/tenants/<slug:slug>/remove/", people.member_remove, name="member-remove"),
    path("of/<str:name>/link/", people.link, name="link"),
    re_path(r"^of/(?P<name>[^/]+)/(?P<act>off|on|reset|end)/$", people.act, name="act"),
]
