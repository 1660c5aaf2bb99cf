"""Below ``accounts/``.  Only what has a page in the house's style is there.

allauth looks its pages up by names of its own, without a space before them.
"""

from allauth.account import views as account
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.generic import TemplateView

from dashboard.accounts import provider, sessions_page, views, welcome
from dashboard.accounts.gate import open_to_all, open_to_self, open_to_self_lately

own = [
    path("login/", open_to_all(account.login), name="login"),
    path("logout/", open_to_all(LogoutView.as_view()), name="logout"),
    path("password/", open_to_self(views.OwnPassword.as_view()), name="password"),
    path("welcome/<str:token>/", welcome.welcome, name="welcome"),
    path("sessions/", sessions_page.page, name="sessions"),
    path("sessions/end/", sessions_page.end, name="sessions-end"),
    path("provider/", provider.go, name="provider"),
]
inactive = TemplateView.as_view(template_name="accounts/inactive.html")
stopped = TemplateView.as_view(template_name="accounts/stopped.html")

urlpatterns = [
    path("", include((own, "accounts"))),
    path("login/", open_to_all(account.login), name="account_login"),
    path("inactive/", open_to_all(inactive), name="account_inactive"),
    path("again/", open_to_self(account.reauthenticate), name="account_reauthenticate"),
    path("again/code/", open_to_self(factors.reauthenticate), name="mfa_reauthenticate"),
    path(
        "again/passkey/",
        open_to_self(passkeys.reauthenticate_webauthn),
        name="mfa_reauthenticate_webauthn",
    ),
    path("login/factor/", open_to_all(factors.authenticate), name="mfa_authenticate"),
    path("login/passkey/", open_to_all(passkeys.login_webauthn), name="mfa_login_webauthn"),
    path("factors/", open_to_self(factors.index), name="mfa_index"),
    path("factors/", open_to_self(factors.index), name="mfa_list_webauthn"),
    path("factors/app/", open_to_self_lately(totp.activate_totp), name="mfa_activate_totp"),
    path(
        "factors/app/remove/", open_to_self_lately(totp.deactivate_totp), name="mfa_deactivate_totp"
    ),
    path(
        "factors/passkeys/new/", open_to_self_lately(passkeys.add_webauthn), name="mfa_add_webauthn"
    ),
    path(
        "factors/passkeys/<int:pk>/remove/",
        open_to_self_lately(passkeys.remove_webauthn),
        name="mfa_remove_webauthn",
    ),
    path(
        "factors/codes/",
        open_to_self_lately(recovery.view_recovery_codes),
        name="mfa_view_recovery_codes",
    ),
    path(
        "factors/codes/new/",
        open_to_self_lately(recovery.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "provider/back/",
        provider.callback,
        {"provider_id": provider.ID},
        name="openid_connect_callback",
    ),
    path("provider/stopped/", open_to_all(stopped), name="socialaccount_login_cancelled"),
]
