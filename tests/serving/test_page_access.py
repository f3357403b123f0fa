"""The page by keyboard, on a phone, light and dark, and in trouble; and that nothing is from elsewhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

import serving

FILES = Path(serving.__file__).parent / "page"
SETTINGS = "&assignment=double&temperature=0&seed=5"
# Bodies of errors, as the service has them.
BUSY = {"error": {"message": "busy", "type": "rate_limit_error", "param": None, "code": "queue_full"}}
KEY = {
    "error": {"message": "no key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
}
STARTING = {"error": {"message": "not ready", "type": "server_error", "param": None, "code": "not_ready"}}


@pytest.fixture
def page(browser: Browser, client: httpx.Client) -> Iterator[Page]:
    with browser.new_context(reduced_motion="reduce", base_url=str(client.base_url)) as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        yield page


def go(page: Page, fragment: str = f"view=watch{SETTINGS}") -> None:
    page.goto("about:blank")
    page.goto(f"/#{fragment}")
    expect(page.locator("#status")).not_to_have_text("Loading…")


def step(page: Page, attempt: int) -> None:
    page.click("#step")
    expect(page.locator(".row")).to_have_count(attempt)


def test_focus_stays_on_step_and_controls_and_status_stay_in_view(page):
    go(page)
    page.set_viewport_size({"width": 1000, "height": 500})
    for attempt in (1, 2, 3):
        step(page, attempt)
        expect(page.locator("#step")).to_be_focused()
        expect(page.locator("#step")).to_be_in_viewport(ratio=1)
        expect(page.locator("#status")).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") > 0


def test_the_keyboard_is_enough(page):
    go(page)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "step":
            break
    expect(page.locator("#step")).to_be_focused()
    assert page.locator("#step").evaluate("(button) => getComputedStyle(button).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("s")
    expect(page.locator(".row")).to_have_count(2)
    page.keyboard.press("t")
    expect(page.locator("#tutor-2")).to_be_focused()
    page.keyboard.type("prs 123")  # no shortcuts: they are written
    expect(page.locator("#tutor-2")).to_have_value("prs 123")
    page.locator("#step").focus()
    page.keyboard.press("3")
    expect(page.get_by_role("link", name="Class")).to_have_attribute("aria-current", "page")


def test_single_keys_can_be_turned_off(page):
    go(page)
    page.get_by_text("Keyboard", exact=True).click()
    page.get_by_label("Single keys work").uncheck()
    page.locator("#step").focus()
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_role("link", name="Watch")).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("view", ["watch", "compare", "class"])
def test_every_control_has_a_name_and_the_status_is_announced(page, view):
    go(page, f"view={view}{SETTINGS}&assignment=own")
    for control in page.locator("select, textarea, input, button, a, summary").all():
        if control.is_visible():
            tree = control.aria_snapshot()
            assert re.search(r'"[^"]+"|: \S', tree), control.evaluate("(node) => node.outerHTML")
    expect(page.locator("#status")).to_have_attribute("role", "status")


@pytest.mark.parametrize(
    "fragment", ["watch&at=3", "watch&at=2&tutor.1=Think.", "compare&at=2&samples=4", "class&students=4&at=1"]
)
def test_nothing_stands_outside_of_a_phone(page, fragment):
    page.set_viewport_size({"width": 360, "height": 700})
    go(page, f"view={fragment}{SETTINGS}")
    expect(page.locator(".attempt, .tile.full").last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#settings-box").evaluate("(box) => { box.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_follows_the_preferred_colour_scheme(page):
    go(page)

    def brightness(scheme: str) -> int:
        page.emulate_media(color_scheme=scheme)
        colour = page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness("dark") < 150 < 600 < brightness("light")


CONTRASTS = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = parts(colour).map((value) => value / 255)
            .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (parts(colour)[3] !== 0) return colour;
        }
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
        if (node.closest("option, noscript")) continue;
        const style = getComputedStyle(node);
        const [a, b] = [luminance(node.closest("svg") ? style.fill : style.color), luminance(behind(node))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data]);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(page, scheme):
    page.emulate_media(color_scheme=scheme)
    go(page, f"view=watch{SETTINGS}&at=3&tutor.1=Think.")
    expect(page.locator(".attempt").nth(2)).to_be_visible()
    page.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 50
    assert [text for ratio, text in found if ratio < 4.5] == []


def test_an_error_of_the_service_is_said_in_words(page):
    go(page, f"view=watch{SETTINGS}".replace("double", "gone"))
    page.click("#step")
    expect(page.locator("#status")).to_contain_text("there is no assignment 'gone'")
    expect(page.locator("#status")).to_have_class("error")
    assert "{" not in page.inner_text("#status")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def stand_in(
    page: Page, path: str, status: int, body: dict, times: int | None = None, **headers: str
) -> None:
    """Answers in place of the service, which cannot be brought into this state at will."""

    def answer(route) -> None:
        route.fulfill(status=status, content_type="application/json", headers=headers, body=json.dumps(body))

    page.route(path, answer, times=times)


def test_a_busy_service_is_asked_again(page):
    go(page)
    stand_in(page, "/next_submission", 429, BUSY, times=1, **{"Retry-After": "1"})
    page.click("#step")
    expect(page.locator("#status")).to_have_text("The service has too much to do: it is asked again in 1 s.")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator("#status")).to_contain_text("Attempt 1:")


def test_a_service_that_is_not_ready_says_why(page):
    go(page)
    stand_in(page, "/next_submission", 503, STARTING, times=1)
    stand_in(page, "/readyz", 503, {"ready": False, "courses": {"toy": {"problem": "no champion yet"}}})
    page.click("#step")
    expect(page.locator("#status")).to_have_text("The service is not ready. toy: no champion yet")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".row")).to_have_count(1)


def test_the_key_is_asked_for_and_kept_in_this_tab(page):
    sent: list[str | None] = []

    def guarded(route) -> None:  # stands in for a service that needs a key
        sent.append(route.request.headers.get("authorization"))
        if sent[-1] == "Bearer abc":
            route.fallback()
        else:
            route.fulfill(status=401, content_type="application/json", body=json.dumps(KEY))

    page.route("/next_submission", guarded)
    go(page)
    page.click("#step")
    page.get_by_role("textbox", name="API key").fill("abc")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    step(page, 2)
    assert sent == [None, "Bearer abc", "Bearer abc"]
    assert "abc" not in page.url
    assert page.evaluate("Object.values(sessionStorage)") == ["abc"]
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []


def test_without_the_key_it_says_so(page):
    go(page)
    stand_in(page, "/next_submission", 401, KEY)
    page.click("#step")
    expect(page.get_by_role("textbox", name="API key")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("This service answers only with an API key.")


def test_the_page_requests_nothing_but_the_service_and_nothing_is_blocked(page, client):
    requested: set[str] = set()
    problems: list[str] = []
    page.on("request", lambda request: requested.add(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    go(page)
    step(page, 1)
    own = str(client.base_url).rstrip("/")
    assert f"{own}/next_submission" in requested
    assert all(address.startswith((own, "data:", "about:")) for address in requested)
    assert problems == []


def test_the_policy_forbids_what_the_page_does_not_contain(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in FILES.iterdir():
        if file.name != "index.html":
            assert client.get(f"/{file.name}").headers["content-security-policy"] == policy
        assert set(re.findall(r"https?://[^\s'\"<]+", file.read_text())) <= {"http://www.w3.org/2000/svg"}
