"""Whom the routes let in."""

from __future__ import annotations

import doctest

import pytest

pytest.importorskip("fastapi", reason="the routes need FastAPI, which the hosts bring")

from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from ldznet_webui import auth
from ldznet_webui.auth import guard, read_credentials
from ldznet_webui.routing import SentenceRoute


def client(credentials: str) -> TestClient:
    """A client of a server with one guarded route."""
    app = FastAPI()
    app.router.route_class = SentenceRoute

    @app.get("/secret", dependencies=[Depends(guard(credentials))])
    def secret() -> str:
        return "told"

    return TestClient(app)


class TestCredentials:
    def test_the_example_holds(self) -> None:
        assert doctest.testmod(auth) == (0, 1)

    def test_a_colon_in_a_password_belongs_to_it(self) -> None:
        assert read_credentials("ann:o:ne") == {"ann": "o:ne"}

    def test_the_last_password_of_a_user_counts_as_in_the_host(self) -> None:
        assert read_credentials("ann:one,ann:two") == {"ann": "two"}

    @pytest.mark.parametrize("text", ["ann", ",", ""])
    def test_what_has_no_colon_names_nobody(self, text: str) -> None:
        assert read_credentials(text) == {}


class TestGuard:
    @pytest.mark.parametrize("pair", [("ann", "one"), ("bob", "t:wo"), ("carl", "")])
    def test_it_lets_in_whom_the_credentials_name(self, pair: tuple[str, str]) -> None:
        reply = client("ann:one,bob:t:wo,carl:").get("/secret", auth=pair)
        assert (reply.status_code, reply.json()) == (200, "told")

    @pytest.mark.parametrize(
        "pair",
        [("ann", "two"), ("bob", "one"), ("ann", ""), ("", ""), ("", "one"), ("anne", "one")],
    )
    def test_it_answers_401_to_others_and_says_how_to_come_in(self, pair: tuple[str, str]) -> None:
        reply = client("ann:one,bob:two").get("/secret", auth=pair)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Basic"
        assert "expected a user and a password" in reply.json()["detail"]

    @pytest.mark.parametrize(
        "header", [None, "Basic", "Basic !", "Basic YW5u", "Bearer YW5uOm9uZQ==", "Basic w6Q6w6Q="]
    )
    def test_it_answers_401_to_who_does_not_say_a_name(self, header: str | None) -> None:
        headers = {"Authorization": header} if header else {}
        reply = client("ann:one").get("/secret", headers=headers)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Basic"

    def test_who_says_none_is_told_how(self) -> None:
        detail = client("ann:one").get("/secret").json()["detail"]
        assert detail.startswith("expected a user and a password of --api-auth, got none")

    def test_credentials_that_name_nobody_let_nobody_in(self) -> None:
        assert client("ann").get("/secret", auth=("ann", "")).status_code == 401

    def test_letters_outside_ascii_in_a_password_let_the_others_in_still(self) -> None:
        """Comparing text would raise on them."""
        guarded = client("bob:schlüssel,ann:one")
        assert guarded.get("/secret", auth=("ann", "one")).status_code == 200
        assert guarded.get("/secret", auth=("bob", "one")).status_code == 401
