"""The page, in a real browser, on the real service: what one does with it, from a step to the link."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

SETTINGS = "&assignment=double&temperature=0&seed=5"
# Of a program on the page, the lines that are not removed ones.
KEPT = ".program > :not(del) > span"


class Opened:
    """The page in a window, and what it asks of the service."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.posted: list[tuple[str, dict]] = []

    def note(self, request: Request) -> None:
        if request.method == "POST":
            self.posted.append((request.url.removeprefix(self.address), request.post_data_json))

    def at(self, fragment: str) -> Page:
        """Opened with this fragment, once it is ready."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/#{fragment}")
        expect(self.page.locator("#status")).not_to_have_text("Loading…")
        return self.page


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    with browser.new_page(reduced_motion="reduce") as page:
        page.set_default_timeout(20_000)
        yield page


@pytest.fixture
def opened(window: Page, client: httpx.Client) -> Iterator[Opened]:
    opened = Opened(window, str(client.base_url).rstrip("/"))
    window.on("request", opened.note)
    yield opened
    window.remove_listener("request", opened.note)


def status(page: Page) -> Locator:
    return page.locator("#status")


def step(page: Page, attempt: int) -> None:
    """Clicks Step, and returns when the attempt of this number is there."""
    page.click("#step")
    expect(page.locator(".row")).to_have_count(attempt)


def programs(page: Page) -> list[str]:
    cards = page.locator(".attempt:has(.program)").all()
    return ["".join(card.locator(KEPT).all_text_contents()) for card in cards]


def test_step_by_step_until_the_program_is_right(opened, trajectory):
    page = opened.at(f"view=watch{SETTINGS}")
    step(page, 1)
    expect(status(page)).to_have_text("Attempt 1: grade 0 of 100; the first failing test is double(2).")
    step(page, 2)
    expect(status(page)).to_have_text("Attempt 2: grade 50 of 100; the first failing test is double(5).")
    step(page, 3)
    expect(status(page)).to_have_text("Solved: attempt 3 passes every test.")
    assert programs(page) == list(trajectory)
    assert page.locator(".grade").all_text_contents() == ["0 of 100", "50 of 100", "100 of 100"]
    assert page.locator(".feedback p").all_text_contents()[2] == "All 2 tests passed."
    for button in ("#step", "#play"):  # no further attempt after a solved one
        expect(page.locator(button)).to_have_attribute("aria-disabled", "true")


def test_play_goes_on_until_it_is_solved_and_restart_begins_again(opened, trajectory):
    page = opened.at(f"view=watch{SETTINGS}")
    page.click("#play")
    expect(page.locator("#play")).to_contain_text("Pause")
    expect(status(page)).to_have_text("Solved: attempt 3 passes every test.")
    expect(page.locator("#play")).to_contain_text("Play")
    page.click("#restart")
    expect(page.locator(".row")).to_have_count(0)
    step(page, 1)
    assert programs(page) == [trajectory[0]]


def test_pause_ends_the_playing(opened):
    page = opened.at(f"view=watch{SETTINGS}")
    page.click("#play")
    page.click("#play")
    expect(status(page)).to_contain_text("Paused")
    step(page, page.locator(".row").count() + 1)
    expect(page.locator("#play")).to_contain_text("Play")


def test_markup_in_a_program_stays_text(opened, trajectory):
    page = opened.at(f"view=watch{SETTINGS}")
    step(page, 1)
    assert "<script>" in trajectory[0]
    assert programs(page) == [trajectory[0]]
    assert page.locator("#view script, .program b > *, .feedback b").count() == 0
    assert page.title() != "owned"


def test_changed_lines_are_marked(opened, trajectory):
    page = opened.at(f"view=watch{SETTINGS}&at=3")
    expect(page.locator(".row")).to_have_count(3)
    added = [text.strip() for text in page.locator("ins > span").all_text_contents()]
    removed = [text.strip() for text in page.locator("del > span").all_text_contents()]
    assert added == ["n = int(n)", "return n + 2", "return 2 * n"]
    assert removed == [trajectory[0].splitlines()[1].strip(), "return n + 2"]


def test_the_results_of_the_tests_are_there(opened):
    page = opened.at(f"view=watch{SETTINGS}&at=2")
    tests = page.locator(".tests").nth(1)
    tests.locator("summary").click()
    passed, failed = tests.locator("li").all()
    expect(passed).to_have_text(re.compile(r"^✓double\(2\)passed$"))
    expect(failed).to_have_text(re.compile(r"^✗double\(5\).*returned 7, expected 10$"))


def test_the_plot_has_named_axes_and_the_grades(opened):
    page = opened.at(f"view=watch{SETTINGS}&at=3")
    plot = page.locator("svg.plot")
    expect(plot).to_have_attribute("aria-label", "Grade by attempt. 0, 50, 100.")
    assert {"Attempt", "Grade", "0", "100", "1", "8"} <= set(plot.locator("text").all_text_contents())
    # The grades rise, so the marks do: of each, how far it is from the top of the window.
    heights = [mark.bounding_box()["y"] for mark in plot.locator(".mark").all()]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 3


def test_the_address_replays_the_trajectory_elsewhere(opened, browser, client, trajectory):
    page = opened.at(f"view=watch{SETTINGS}")
    step(page, 1)
    step(page, 2)
    expect(page).to_have_url(re.compile("at=2"))
    link = page.url
    assert f"model={client.get('/about').json()['courses'][0]['champion']}" in link  # a version, no alias
    with browser.new_page() as elsewhere:
        elsewhere.goto(link)
        expect(elsewhere.locator(".row")).to_have_count(2)
        assert programs(elsewhere) == list(trajectory[:2])
        assert elsewhere.url == link


@pytest.mark.parametrize(
    ("choice", "field", "shown"),
    [
        ("in place of", "feedback", "You said, in place of the grader"),
        ("after", "tutor", "You added"),
    ],
)
def test_what_the_tutor_says_reaches_one_of_two_students(opened, choice, field, shown):
    page = opened.at(f"view=watch{SETTINGS}")
    step(page, 1)
    page.get_by_text("Be the tutor", exact=True).and_(page.locator("summary")).click()
    page.get_by_label("What do you say after attempt 1?").fill("Use <b>2 * n</b> & return it.")
    page.get_by_role("radio", name=re.compile(choice)).check()
    opened.posted.clear()
    page.get_by_role("button", name="Say it").click()
    columns = page.locator(".row:not(.alone) .cell")
    expect(columns).to_have_count(2)
    expect(columns.first).to_contain_text("Without the tutor")
    expect(columns.last).to_contain_text("With the tutor")
    expect(page.locator(".tutor")).to_have_text(f"{shown}Use <b>2 * n</b> & return it.")
    expect(page.locator("#step")).to_be_focused()
    histories = [body["history"] for path, body in opened.posted if path == "/next_submission"]
    told = {entry.get(field) for (entry,) in histories}
    assert told == {None, "Use <b>2 * n</b> & return it."}
    assert {body["seed"] for _, body in opened.posted} == {5}
    without, tutored = (column.locator(KEPT).all_text_contents() for column in columns.all())
    assert ("made no difference" in status(page).inner_text()) == (without == tutored)
    # And the address says it again.
    after = [column.text_content() for column in columns.all()]
    page.reload()
    expect(columns).to_have_count(2)
    assert [column.text_content() for column in columns.all()] == after


def test_samples_of_one_version_stand_side_by_side(opened):
    page = opened.at(f"view=compare{SETTINGS}&samples=3")
    step(page, 1)
    assert page.locator(".attempt h3 small").all_text_contents() == ["Seed 5", "Seed 6", "Seed 7"]
    assert sorted(body["seed"] for _, body in opened.posted) == [5, 6, 7]
    assert page.locator(".legend li").all_text_contents() == ["Seed 5", "Seed 6", "Seed 7"]


def test_two_versions_stand_side_by_side(opened, client):
    about = client.get("/about").json()["courses"][0]
    first, second = about["champion"], about["models"][-1]["id"]
    page = opened.at(f"view=compare&model={first}{SETTINGS}")
    page.select_option("#other", second)
    step(page, 1)
    assert page.locator(".attempt h3 small").all_text_contents() == [f"A: {first}", f"B: {second}"]
    assert sorted(body["model"] for _, body in opened.posted) == sorted([first, second])
    assert {body["seed"] for _, body in opened.posted} == {5}


def test_a_class_of_thirty_works_in_one_request_and_opens_in_watch(opened, trajectory):
    page = opened.at(f"view=class{SETTINGS}")
    expect(page.locator(".tile")).to_have_count(30)
    page.click("#play")
    expect(status(page)).to_have_text("30 of 30 solved, 90 attempts.", timeout=40_000)
    ((path, body),) = opened.posted
    assert (path, body["n"], body["seed"]) == ("/rollout", 30, 5)
    expect(page.locator("svg.plot")).to_have_attribute("aria-label", "% solved by attempt. 0, 0, 100.")
    page.locator(".tile").nth(3).click()
    expect(status(page)).to_have_text("Solved: attempt 3 passes every test.")
    assert programs(page) == list(trajectory)
    expect(page.locator("#seed")).to_have_value("8")
    expect(page.locator("#attempts")).to_be_focused()
    page.go_back()  # the class is still there, and not asked for again
    expect(status(page)).to_have_text("30 of 30 solved, 90 attempts.")
    assert [path for path, _ in opened.posted].count("/rollout") == 1


def test_a_task_of_ones_own(opened):
    page = opened.at("view=watch&temperature=0&seed=5")
    page.select_option("#assignment", "own")
    expect(status(page)).to_have_text("Write the task first.")
    page.get_by_label("Your task").fill("Write a function `double(n)` that returns twice n.")
    page.get_by_role("textbox", name="Call").fill("double(3)")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Expected value")).to_be_focused()
    page.keyboard.type("6")
    page.keyboard.press("Tab")
    step(page, 1)
    (body,) = [body for _, body in opened.posted]
    assert body["assignment"] == {
        "task": "Write a function `double(n)` that returns twice n.",
        "tests": {"form": "calls", "tests": [{"call": "double(3)", "returns": "6"}]},
    }
    expect(status(page)).to_have_text("Attempt 1: grade 0 of 100; the first failing test is double(3).")
    page.reload()
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_label("Expected value")).to_have_value("6")


def test_the_page_says_what_the_student_is(opened, client):
    page = opened.at("view=watch")
    course = client.get("/about").json()["courses"][0]
    (version,) = [model for model in course["models"] if model["id"] == course["champion"]]
    page.get_by_text("Metrics of this version").click()
    text = page.inner_text("body").lower()
    for phrase in ("artificial student", "not a person", "synthetic students", "“toy”"):
        assert phrase in text
    assert f"registered version {version['version']}" in text
    for value in version["metrics"].values():
        assert str(value)[:4] in text


def test_the_address_is_read_as_it_was_written(opened):
    page = opened.at("view=watch")
    state = {
        "view": "watch", "model": "tutee-a-v1", "assignment": "own", "task": "a & b=c #d\n+é`x`",
        "tests": [{"call": "f('&')", "returns": "'='"}, {"call": "f(1)", "returns": "{'a': 2}"}],
        "temperature": 0.3, "seed": 17, "attempts": 9, "at": 4,
        "messages": [[2, {"text": "50% & more", "alone": True}], [3, {"text": "#", "alone": False}]],
    }  # fmt: skip
    back = page.evaluate(
        """async (state) => {
            const { read, write } = await import("/state.js");
            state.messages = new Map(state.messages);
            const back = read(write(state), { attempts: 50, samples: 32 });
            return JSON.stringify({ ...back, messages: [...back.messages] });
        }""",
        state,
    )
    assert json.loads(back) | state == json.loads(back)


def test_a_diff_gives_both_programs_back(opened):
    page = opened.at("view=watch")
    pairs = [("abcabba", "cbabac"), ("", "ab"), ("ab", ""), ("aaaa", "aa"), ("ab" * 1500, "ba" * 1500)]
    for before, after in pairs:
        rows = page.evaluate(
            """async ([before, after]) => (await import("/diff.js")).diff([...before], [...after])""",
            [before, after],
        )
        assert "".join(row["line"] for row in rows if row["kind"] != "ins") == before
        assert "".join(row["line"] for row in rows if row["kind"] != "del") == after
        assert [row["number"] for row in rows if row["kind"] != "del"] == list(range(1, len(after) + 1))
