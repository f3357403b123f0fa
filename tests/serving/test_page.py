"""The page, in a real browser, on the real service."""

import re
from pathlib import Path

import pytest

import serving

PAGE = Path(serving.__file__).parent / "page"
# The text of each program as it stands on the page; a removed line is not part of it.
SHOWN = """[...document.querySelectorAll('.program')].map((program) =>
    [...program.querySelectorAll(':scope > :not(del) > span')].map((line) => line.textContent).join(''))"""


@pytest.fixture
def page(browser, client):
    browser.open(str(client.base_url))
    return browser


def choose(page, name: str, value: str) -> None:
    page.ask(f"{{ const it = document.getElementById('{name}'); it.value = '{value}'; "
             "it.dispatchEvent(new Event('input')); it.dispatchEvent(new Event('change')); }")  # fmt: skip


def test_it_tries_fails_reads_and_tries_again_until_it_is_right(page, trajectory):
    choose(page, "temperature", "0")
    page.ask("document.getElementById('watch').click()")
    page.until("/^(Solved|Not solved|No answer)/.test(document.getElementById('status').textContent)")
    assert page.ask("document.getElementById('status').textContent") == "Solved: attempt 3 passes every test."
    assert page.ask(SHOWN) == list(trajectory)
    grades = page.ask("[...document.querySelectorAll('.grade > span')].map((one) => one.textContent)")
    assert grades == ["0 of 100", "50 of 100", "100 of 100"]
    widths = page.ask("[...document.querySelectorAll('.bar i')].map((one) => one.style.width)")
    assert widths == ["0%", "50%", "100%"]
    said = page.ask("[...document.querySelectorAll('.said p')].map((one) => one.textContent)")
    assert said[2] == "All 2 tests passed."
    # Solved is the end: nothing more to try.
    assert page.ask("document.getElementById('try').disabled && document.getElementById('watch').disabled")


def test_markup_in_a_program_stays_text(page, trajectory):
    choose(page, "temperature", "0")
    page.ask("document.getElementById('try').click()")
    page.until("document.querySelectorAll('.attempt').length === 1")
    assert "<script>" in trajectory[0]
    assert page.ask(SHOWN) == [trajectory[0]]
    assert (
        page.ask("document.querySelectorAll('#list script, #list .program b > *, #list .said b').length") == 0
    )
    assert page.ask("document.title") != "owned"


def test_lines_that_changed_are_marked(page, trajectory):
    choose(page, "temperature", "0")
    for attempts in (1, 2, 3):
        page.ask("document.getElementById('try').click()")
        page.until(f"document.querySelectorAll('.attempt').length === {attempts}")
    added = page.ask("[...document.querySelectorAll('ins > span')].map((one) => one.textContent.trim())")
    removed = page.ask("[...document.querySelectorAll('del > span')].map((one) => one.textContent.trim())")
    assert added == ["n = int(n)", "return n + 2", "return 2 * n"]
    assert removed == [trajectory[0].splitlines()[1].strip(), "return n + 2"]


def test_it_says_what_it_is(page):
    text = page.ask("document.body.innerText")
    for words in (
        "artificial student",
        "not a person",
        "synthetic students",
        "“toy”",
        "registered version 7",
        "0.813",
    ):
        page.ask("document.getElementById('figures').open = true")
        text = page.ask("document.body.innerText")
        assert words.lower() in text.lower()


def test_the_keyboard_is_enough(page):
    for _ in range(20):
        page.press("Tab")
        if page.ask("document.activeElement.id") == "try":
            break
    else:
        raise AssertionError("Tab never reached the button")
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", "\r")
    page.until("document.querySelectorAll('.attempt').length === 1")


def test_an_error_of_the_service_is_said(page):
    page.ask("document.getElementById('assignment').options[0].value = 'gone'")
    page.ask("document.getElementById('assignment').selectedIndex = 0")
    page.ask("document.getElementById('try').click()")
    page.until("document.getElementById('status').className === 'error'")
    assert "there is no assignment 'gone'; there are: double, echo" in page.ask(
        "document.getElementById('status').textContent"
    )


def test_it_follows_the_users_light_or_dark(page):
    def brightness(scheme: str) -> int:
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colour = page.ask("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness("dark") < 150 < 600 < brightness("light")


def test_it_asks_nobody_but_the_service_and_nothing_is_refused(page, client):
    page.ask("document.getElementById('try').click()")
    page.until("document.querySelectorAll('.attempt').length === 1")
    asked = {
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    }
    own = str(client.base_url)
    assert f"{own}/next_submission" in asked
    assert all(address.startswith((own, "data:")) for address in asked)
    complaints = [
        event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert complaints == []


def test_the_policy_forbids_what_the_page_does_not_hold(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in PAGE.iterdir():
        assert set(re.findall(r"https?://[^\s'\"<]+", file.read_text())) <= {"http://www.w3.org/2000/svg"}
