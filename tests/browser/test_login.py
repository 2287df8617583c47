"""A real OpenID Connect provider: who is not logged in, a viewer, a rater and an approver, and what
each may do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from reports.viewer.rating.desk import HELD, QUICK
from restaudit.evidence.ledger import read
from restaudit.evidence.record import Run
from restaudit.people.rating.tasks import draw_tasks
from tests.browser.conftest import Visit, ended, free_port, waited
from tests.reports.make_run import make_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
PEOPLE = {
    "vera": {"name": "Vera", "email": "vera@example.org", "roles": ["viewer"]},
    "rhea": {"name": "Rhea", "email": "rhea@example.org", "roles": ["rater"]},
    "ada": {"name": "Ada", "email": "ada@example.org", "roles": ["restaudit:approver"]},
    "nobody": {"name": "No Role", "email": "no@example.org"},
    # Who wrote an approver's name and address into their own claims.
    "vic": {"name": "Ada (ada@example.org)", "email": "ada@example.org", "email_verified": False},
    "max": {
        "name": "Ada",
        "email": "ada@example.org",
        "email_verified": False,
        "roles": ["approver"],
    },
}
ASK: dict[str, Any] = {
    "per_iteration": 4,
    "raters": 2,
    "seed": 3,
    "dimension": "quality",
    "scale": (1, 7),
    "instructions": "Rate how well the text reads.",
    "name": "first",
}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Authorisation code flow with signed ID tokens, in its own process."""
    if find_spec("oidc_provider_mock") is None:
        pytest.skip("no oidc-provider-mock here: pip install 'restaudit[test]'")
    port, log = free_port(), tmp_path_factory.mktemp("provider") / "provider.log"
    users = [
        arg
        for sub, claims in PEOPLE.items()
        for arg in ("--user-claims", json.dumps({"sub": sub, "email_verified": True, **claims}))
    ]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *users],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            waited(f"http://127.0.0.1:{port}/.well-known/openid-configuration", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            ended(server)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("login") / "runs"
    make_run(root / "healthy")
    make_run(root / "halted", "halted")
    draw_tasks(root / "healthy", ["g00/i00", "g02/i02"], **ASK)
    return root


@pytest.fixture(scope="module")
def guarded(place: Path, provider: str) -> Iterator[str]:
    """The app with [auth] in its secrets.toml, as docs/app-access.md has it."""
    port, log, secrets = free_port(), place.parent / "ui.log", place.parent / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\ncookie_secret = '
        f'"{"s" * 40}"\n'
        f'client_id = "restaudit"\nclient_secret = "a secret"\n'
        f'server_metadata_url = "{provider}/.well-known/openid-configuration"\n'
    )
    environment = {
        **os.environ,
        "STREAMLIT_SECRETS_FILES": str(secrets),
        "RESTAUDIT_CACHE": str(place.parent / "cache"),
    }
    command = [
        sys.executable,
        "-m",
        "restaudit.commands.cli",
        "ui",
        str(place),
        "--port",
        str(port),
    ]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            waited(f"http://127.0.0.1:{port}/_stcore/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            ended(server)


@pytest.fixture
def tab(browser: Any, guarded: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield Visit(context.new_page(), guarded)
    context.close()


def _log_in(tab: Visit, who: str) -> None:
    tab.open("run", "halted")
    tab.page.get_by_role("button", name="Log in").first.click()
    tab.page.get_by_role("button", name=who, exact=True).click()
    tab.page.wait_for_url(f"{tab.address}/**")
    tab.settle()
    tab.page.get_by_role("button", name="Log out").wait_for(timeout=60_000)


def _ours(tab: Visit) -> list[str]:
    """Errors of the app: the provider's own page asks the network for a style sheet."""
    return [e for e in tab.errors if "cdn.jsdelivr.net" not in e]


def _says(tab: Visit, text: str) -> bool:
    return bool(tab.page.get_by_text(text).count())


def test_who_is_not_logged_in_reads_and_is_asked_to_log_in(tab: Visit) -> None:
    page = tab.open("run", "healthy")
    assert page.get_by_role("heading", name="Decisions").count()
    assert _says(tab, "Not logged in: you can read, download and verify.")
    tab.open("rate", "healthy")
    assert _says(tab, "Log in first")
    assert not page.get_by_role("textbox", name="Your rater name").count()
    assert not _says(tab, "I have read this, begin")
    tab.open("documents", "healthy")
    page.get_by_text("Keep it in the run folder").click()
    assert page.get_by_role("button", name="Keep in the run folder").is_disabled()
    assert _ours(tab) == []


@pytest.mark.parametrize("who", ["vera", "nobody", "vic"])
def test_a_viewer_only_reads(tab: Visit, place: Path, who: str) -> None:
    _log_in(tab, who)
    assert _says(tab, "Role: viewer")
    page = tab.open("rate", "healthy")
    assert _says(tab, "Your role is viewer")
    assert not _says(tab, "I have read this, begin")
    assert not _says(tab, "Make a new set")
    forged = "&role=approver&roles=approver&restaudit_role=approver&email=ada@example.org"
    page.goto(f"{tab.address}/documents?run=halted&documents_view=Override{forged}")
    tab.settle()
    assert _says(tab, "Not yours to do")
    assert not page.get_by_role("button", name="Look at it once more").count()
    page.goto(f"{tab.address}/documents?run=halted&documents_view=Declare")
    tab.settle()
    assert page.get_by_role("button", name="Save", exact=True).is_disabled()
    assert not (place / "healthy" / "human" / "ratings.jsonl").exists()


def test_a_rater_rates_under_a_pseudonym_of_the_login_and_cannot_override(
    tab: Visit, place: Path
) -> None:
    _log_in(tab, "rhea")
    page = tab.open("rate", "healthy")
    assert not page.get_by_role("textbox", name="Your rater name").count()
    page.get_by_text("I have read this, begin").click()
    tab.settle()
    page.wait_for_timeout(
        1000 * HELD * QUICK + 50
    )  # a key that comes sooner is one that was held down, and does not count
    page.keyboard.press("6")
    page.wait_for_selector("text=/^1 of [0-9]+ rated/", timeout=30_000)
    path = place / "healthy" / "human" / "ratings.jsonl"
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    assert row["rater_id"].startswith("rater-")
    assert "rhea" not in json.dumps(row).lower()
    assert not _says(tab, "Make a new set")
    page.goto(f"{tab.address}/documents?run=halted&documents_view=Override")
    tab.settle()
    assert _says(tab, "Not yours to do")
    assert _ours(tab) == []


def test_an_approver_overrides_in_the_name_of_the_login(tab: Visit, place: Path) -> None:
    run = Path(shutil.copytree(place / "halted", place / "mine"))
    _log_in(tab, "ada")
    page = tab.open("rate", "healthy")
    assert _says(tab, "Make a new set")
    page.goto(f"{tab.address}/documents?run=mine&documents_view=Override")
    tab.settle()
    page.get_by_text("Name: Ada (ada@example.org)").wait_for(timeout=30_000)
    page.get_by_role("textbox", name="Reason").fill("I looked at the samples of both iterations.")
    page.get_by_role("button", name="Look at it once more").click()
    page.get_by_role("button", name="Record the override").click()
    page.get_by_text("The override is recorded").wait_for(timeout=30_000)
    assert read(run)[-1].step == "g01/i02/override"
    assert [o.by for o in Run(run).overrides()] == ["Ada (ada@example.org)"]


def test_who_typed_an_approvers_address_acts_in_the_name_that_the_provider_vouches_for(
    tab: Visit, place: Path, provider: str
) -> None:
    run = Path(shutil.copytree(place / "halted", place / "theirs"))
    _log_in(tab, "max")
    page = tab.page
    page.goto(f"{tab.address}/documents?run=theirs&documents_view=Override")
    tab.settle()
    # A run that was copied just now is read for the first time: the page may draw this later.
    page.get_by_text(f"Name: Ada (max at {provider})").wait_for(timeout=30_000)
    page.get_by_role("textbox", name="Reason").fill("I looked at the samples of both iterations.")
    page.get_by_role("button", name="Look at it once more").click()
    page.get_by_role("button", name="Record the override").click()
    page.get_by_text("The override is recorded").wait_for(timeout=30_000)
    assert [o.by for o in Run(run).overrides()] == [f"Ada (max at {provider})"]


def test_an_approvers_cookie_is_worth_nothing_after_logging_out(
    tab: Visit, browser: Any, place: Path, guarded: str
) -> None:
    run = Path(shutil.copytree(place / "halted", place / "left"))
    _log_in(tab, "ada")
    address = f"{guarded}/documents?run=left&documents_view=Override"
    tab.page.goto(address)
    tab.settle()
    tab.page.get_by_role("textbox", name="Reason").fill("I looked at the samples of both.")
    tab.page.get_by_role("button", name="Look at it once more").click()
    tab.page.get_by_role("button", name="Record the override").wait_for(timeout=30_000)
    cookies = tab.page.context.cookies()
    assert any(cookie["name"].startswith("_streamlit_user") for cookie in cookies)
    # Another window of the same browser logs out; the first one still shows its button.
    other = Visit(tab.page.context.new_page(), guarded)
    other.open("run", "healthy")
    other.page.get_by_role("button", name="Log out").click()
    other.page.wait_for_timeout(1500)
    tab.page.get_by_role("button", name="Record the override").click()
    tab.settle()
    assert Run(run).halt is not None
    replaying = browser.new_context()
    replaying.add_cookies(cookies)
    again = Visit(replaying.new_page(), guarded)
    again.page.goto(address)
    again.settle()
    assert _says(again, "Your login ended")
    assert _says(again, "Not yours to do")
    again.open("rate", "healthy")
    assert _says(again, "Log in first")
    assert not _says(again, "I have read this, begin")
    replaying.close()
    assert not Run(run).overrides()


def test_after_logging_out_nothing_of_the_login_is_left(tab: Visit) -> None:
    _log_in(tab, "ada")
    tab.page.get_by_role("button", name="Log out").click()
    tab.page.wait_for_timeout(1500)
    tab.open("rate", "healthy")
    assert _says(tab, "Log in first")


def test_who_declines_at_the_provider_is_not_logged_in(tab: Visit) -> None:
    tab.open("run", "healthy")
    tab.page.get_by_role("button", name="Log in").first.click()
    tab.page.get_by_role("textbox").first.fill("ada")
    tab.page.get_by_role("button", name="Deny").click()
    tab.page.wait_for_timeout(1500)
    tab.open("rate", "healthy")
    assert _says(tab, "Log in first")
