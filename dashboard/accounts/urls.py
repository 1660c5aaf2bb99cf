from django.contrib.auth.views import LogoutView
from django.urls import path

from dashboard.accounts import views
from dashboard.accounts.gate import open_to_all

app_name = "accounts"
urlpatterns = [
    path("login/", open_to_all(views.SignIn.as_view()), name="login"),
    path("logout/", open_to_all(LogoutView.as_view()), name="logout"),
    path("password/", open_to_all(views.OwnPassword.as_view()), name="password"),
]
