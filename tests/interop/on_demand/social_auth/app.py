"""Python Social Auth in a Django project of one file: python app.py PORT."""

import os
import sys

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import include, path

settings.configure(
    DEBUG=True,
    SECRET_KEY="interop",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_FILE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "social_django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["social_core.backends.open_id_connect.OpenIdConnectAuth"],
    LOGIN_REDIRECT_URL="/",
    SOCIAL_AUTH_OIDC_OIDC_ENDPOINT=os.environ["ISSUER"],
    SOCIAL_AUTH_OIDC_KEY=os.environ["CLIENT_ID"],
    SOCIAL_AUTH_OIDC_SECRET=os.environ["CLIENT_SECRET"],
    # It sends no PKCE otherwise.
    SOCIAL_AUTH_OIDC_USE_PKCE=True,
)
django.setup()

from django.contrib.auth import logout as end_session
from django.views.decorators.csrf import csrf_exempt
from social_core.actions import do_auth
from social_django.utils import load_strategy, psa


def home(request):
    if not request.user.is_authenticated:
        return HttpResponse('<a href="/login">Sign in</a>')
    count = request.session.get("refreshes", 0)
    return HttpResponse(
        f'<b id="username">{request.user.username}</b> <i id="email">{request.user.email}</i> <i id="refreshes">{count}</i>'
    )


# An app has a form here that posts to `social:begin`; the test's person follows a link.
@psa("social:complete")
def login(request, backend):
    return do_auth(request.backend)


@csrf_exempt
def refresh(request):
    person = request.user.social_auth.get()
    before = person.extra_data["access_token"]
    person.refresh_token(load_strategy(request))
    assert person.extra_data["access_token"] != before
    backend = person.get_backend_instance(load_strategy(request))
    claims = backend.get_json(
        backend.userinfo_url(), headers={"Authorization": f"Bearer {person.extra_data['access_token']}"}
    )
    assert claims["sub"] == person.uid
    request.session["refreshes"] = request.session.get("refreshes", 0) + 1
    return HttpResponseRedirect("/")


@csrf_exempt
def logout(request):
    end_session(request)
    return HttpResponseRedirect("/")


urlpatterns = [
    path("", home),
    path("login", login, {"backend": "oidc"}),
    path("refresh", refresh),
    path("logout", logout),
    path("auth/", include("social_django.urls", namespace="social")),
]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    execute_from_command_line(["app.py", "runserver", "--noreload", f"127.0.0.1:{sys.argv[1]}"])
