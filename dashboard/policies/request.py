"""The person behind a request, after its door let them in."""

from typing import cast

from django.contrib.auth.models import User
from django.http import HttpRequest


def person(request: HttpRequest) -> User:
    return cast(User, request.user)
