"""The page, in a real browser, on the real service."""

import re
from pathlib import Path

import pytest

import serving

PAGE = Path(serving.__file__).parent / "page"
# The text of each program on the page, without removed lines.
PROGRAMS = """[...document.querySelectorAll('.program')].map((program) =>
    [...program.querySelectorAll(':scope > :not(del) > span')].map((line) => line.textContent).join(''))"""


@pytest.fixture
def page(browser, client):
    browser.open(str(client.base_url), "document.querySelector('#try')?.disabled === false")
    return browser


def choose(page, name: str, value: str) -> None:
    page.evaluate(f"""{{
        const input = document.getElementById('{name}');
        input.value = '{value}';
        input.dispatchEvent(new Event('input'));
        input.dispatchEvent(new Event('change'));
    }}""")


def texts(page, selector: str) -> list[str]:
    return page.evaluate(f"[...document.querySelectorAll('{selector}')].map((node) => node.textContent)")


def test_the_student_tries_until_its_program_is_right(page, trajectory):
    choose(page, "temperature", "0")
    page.evaluate("document.getElementById('watch').click()")
    page.until("/^(Solved|Not solved|No answer)/.test(document.getElementById('status').textContent)")
    assert texts(page, "#status") == ["Solved: attempt 3 passes every test."]
    assert page.evaluate(PROGRAMS) == list(trajectory)
    assert texts(page, ".grade > span") == ["0 of 100", "50 of 100", "100 of 100"]
    widths = page.evaluate("[...document.querySelectorAll('.bar i')].map((bar) => bar.style.width)")
    assert widths == ["0%", "50%", "100%"]
    assert texts(page, ".feedback p")[2] == "All 2 tests passed."
    # No further attempt after a solved one.
    for button in ("try", "watch"):
        assert page.evaluate(f"document.getElementById('{button}').disabled")


def test_markup_in_a_program_stays_text(page, trajectory):
    choose(page, "temperature", "0")
    page.evaluate("document.getElementById('try').click()")
    page.until("document.querySelectorAll('.attempt').length === 1")
    assert "<script>" in trajectory[0]
    assert page.evaluate(PROGRAMS) == [trajectory[0]]
    assert texts(page, "#list script, #list .program b > *, #list .feedback b") == []
    assert page.evaluate("document.title") != "owned"


def test_changed_lines_are_marked(page, trajectory):
    choose(page, "temperature", "0")
    for attempts in (1, 2, 3):
        page.evaluate("document.getElementById('try').click()")
        page.until(f"document.querySelectorAll('.attempt').length === {attempts}")
    added = [text.strip() for text in texts(page, "ins > span")]
    removed = [text.strip() for text in texts(page, "del > span")]
    assert added == ["n = int(n)", "return n + 2", "return 2 * n"]
    assert removed == [trajectory[0].splitlines()[1].strip(), "return n + 2"]


def test_the_page_says_what_the_student_is(page):
    page.evaluate("document.getElementById('figures').open = true")
    text = page.evaluate("document.body.innerText").lower()
    for phrase in (
        "artificial student",
        "not a person",
        "synthetic students",
        "“toy”",
        "registered version 7",
        "0.813",
    ):
        assert phrase in text


def test_the_keyboard_is_enough(page):
    for _ in range(20):
        page.press("Tab")
        if page.evaluate("document.activeElement.id") == "try":
            break
    else:
        raise AssertionError("Tab never reached the button")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", "\r")
    page.until("document.querySelectorAll('.attempt').length === 1")


def test_an_error_of_the_service_is_shown(page):
    page.evaluate("document.getElementById('assignment').options[0].value = 'gone'")
    page.evaluate("document.getElementById('assignment').selectedIndex = 0")
    page.evaluate("document.getElementById('try').click()")
    page.until("document.getElementById('status').className === 'error'")
    (message,) = texts(page, "#status")
    assert "there is no assignment 'gone'; there are: double, echo" in message


def test_the_page_follows_the_preferred_colour_scheme(page):
    def brightness(scheme: str) -> int:
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness("dark") < 150 < 600 < brightness("light")


def test_the_page_requests_nothing_but_the_service_and_nothing_is_blocked(page, client):
    page.evaluate("document.getElementById('try').click()")
    page.until("document.querySelectorAll('.attempt').length === 1")
    requested = {
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    }
    own = str(client.base_url)
    assert f"{own}/next_submission" in requested
    assert all(address.startswith((own, "data:")) for address in requested)
    errors = [
        event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert errors == []


def test_the_policy_forbids_what_the_page_does_not_contain(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in PAGE.iterdir():
        assert set(re.findall(r"https?://[^\s'\"<]+", file.read_text())) <= {"http://www.w3.org/2000/svg"}
