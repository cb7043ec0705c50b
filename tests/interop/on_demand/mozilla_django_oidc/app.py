"""mozilla-django-oidc in a Django project of one file: python app.py PORT."""

import os
import sys
from urllib.parse import urlencode

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
from django.http import HttpResponse
from django.urls import include, path

ISSUER = os.environ["ISSUER"]

settings.configure(
    DEBUG=True,
    SECRET_KEY="interop",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_FILE"]}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "mozilla_django_oidc",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
    LOGIN_REDIRECT_URL="/",
    LOGOUT_REDIRECT_URL="/",
    # It reads no discovery document.
    OIDC_OP_AUTHORIZATION_ENDPOINT=f"{ISSUER}/oauth/authorize",
    OIDC_OP_TOKEN_ENDPOINT=f"{ISSUER}/oauth/token",
    OIDC_OP_USER_ENDPOINT=f"{ISSUER}/oauth/userinfo",
    OIDC_OP_JWKS_ENDPOINT=f"{ISSUER}/.well-known/jwks.json",
    OIDC_RP_CLIENT_ID=os.environ["CLIENT_ID"],
    OIDC_RP_CLIENT_SECRET=os.environ["CLIENT_SECRET"],
    # Its default is HS256, by which the client would sign its own ID tokens.
    OIDC_RP_SIGN_ALGO="RS256",
    OIDC_USE_PKCE=True,
    OIDC_RP_SCOPES="openid profile email",
    OIDC_USERNAME_ALGO="app.username",
    # Without these two the sign-out is Django's alone.
    OIDC_STORE_ID_TOKEN=True,
    OIDC_OP_LOGOUT_URL_METHOD="app.logout_url",
)
django.setup()


def username(email, claims):
    return claims["preferred_username"]


def logout_url(request):
    parameters = {
        "id_token_hint": request.session["oidc_id_token"],
        "post_logout_redirect_uri": request.build_absolute_uri("/"),
    }
    return f"{ISSUER}/oauth/logout?{urlencode(parameters)}"


def home(request):
    if not request.user.is_authenticated:
        return HttpResponse('<a href="/login">Sign in</a>')
    return HttpResponse(f'<b id="username">{request.user.username}</b> <i id="email">{request.user.email}</i>')


def login(request):
    from mozilla_django_oidc.views import OIDCAuthenticationRequestView

    return OIDCAuthenticationRequestView.as_view()(request)


def logout(request):
    from mozilla_django_oidc.views import OIDCLogoutView

    return OIDCLogoutView.as_view()(request)


# The module, under the name that the settings and Django know.
sys.modules["app"] = sys.modules[__name__]
urlpatterns = [path("", home), path("login", login), path("logout", logout), path("oidc/", include("mozilla_django_oidc.urls"))]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    execute_from_command_line(["app.py", "runserver", "--noreload", f"127.0.0.1:{sys.argv[1]}"])
