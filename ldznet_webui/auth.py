"""Who may use our routes: those whom the host's ``--api-auth`` names.

The host guards its own routes only (modules/api/api.py:Api.add_api_route in A1111 1.10.1), so ours
have to be guarded here. ``--gradio-auth`` is the page's, and guards no route of any API.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import compare_digest

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

_GIVEN = Depends(HTTPBasic(auto_error=False))


def read_credentials(text: str) -> dict[str, str]:
    """Passwords by user, of ``user:password,user:password``; as in the host, the last one counts.

    What has no colon lets nobody in.

    >>> read_credentials("ann:one,bob:t:wo,carl")
    {'ann': 'one', 'bob': 't:wo'}
    """
    pairs = [each.partition(":") for each in text.split(",")]
    return {user: password for user, colon, password in pairs if colon}


def guard(credentials: str) -> Callable[[HTTPBasicCredentials | None], None]:
    """A dependency that lets in whom the credentials name, and answers 401 to everybody else.

    Args:
        credentials: As ``--api-auth`` has them, see `read_credentials`.
    """
    known = [
        (user.encode(), password.encode())
        for user, password in read_credentials(credentials).items()
    ]

    def check(given: HTTPBasicCredentials | None = _GIVEN) -> None:
        user, password = (given.username, given.password) if given else ("", "")
        # Every pair is compared in full, so that the time taken tells nothing of any of them.
        fits = [
            compare_digest(user.encode(), known_user)
            & compare_digest(password.encode(), known_password)
            for known_user, known_password in known
        ]
        if given is None or not any(fits):
            raise HTTPException(
                status_code=401,
                detail="expected a user and a password of --api-auth, got "
                f"{'none' if given is None else 'others'}: send them as HTTP Basic",
                headers={"WWW-Authenticate": "Basic"},
            )

    return check
