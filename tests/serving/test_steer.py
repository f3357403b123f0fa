"""`POST /steer` on a real process of BentoML's, and the next step on the page in a real browser."""

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import Browser, expect

from serving.payloads import MAX_ATTEMPTS, MAX_CANDIDATES, MAX_STEPS

STRANGE = "def double(n):\n    return n * n\n"


def ask(client: httpx.Client, *programs: str, **body) -> httpx.Response:
    history = [{"code": program} for program in programs]
    return client.post("/steer", json={"assignment": "double", "history": history, "seed": 1, **body})


def test_steps_lead_from_a_wrong_program_to_the_right_one(client, trajectory):
    answer = ask(client, trajectory[0], n=4)
    assert answer.status_code == 200, answer.text
    steered = answer.json()
    assert [step["sample"]["code"] for step in steered["steps"]] == list(trajectory[1:])
    assert [step["sample"]["verdict"]["grade"] for step in steered["steps"]] == [50, 100]
    assert steered["reached"] is True
    assert answer.headers["X-Tutee-Model"] == steered["model"] == "tutee-toy-v7"
    first, last = steered["steps"]
    assert first["names_kept"] == last["names_kept"] == 1  # `double` and `n`
    # From the first program: `return '...'` becomes `n = int(n)`, `return 2 * n`.
    assert last["lines"] == 3 and last["tokens"] > 0 < last["style_distance"] < 1
    assert steered["usage"]["total_tokens"] > steered["usage"]["completion_tokens"] > 0


def test_one_step_goes_no_further(client, trajectory):
    steered = ask(client, trajectory[0], n=4, steps=1).json()
    assert steered["reached"] is False
    assert [step["sample"]["code"] for step in steered["steps"]] == [trajectory[1]]


def test_a_step_is_what_its_seed_gives_for_the_next_submission(client, trajectory):
    (step,) = ask(client, *trajectory[:2], n=4).json()["steps"]
    history = [{"code": program} for program in trajectory[:2]]
    body = {"assignment": "double", "history": history, "seed": step["sample"]["seed"]}
    (sample,) = client.post("/next_submission", json=body).json()["samples"]
    assert sample["code"] == step["sample"]["code"]


def test_the_same_request_gives_the_same_steps_beside_others(client):
    def steps(seed: int) -> str:
        return ask(client, STRANGE, n=3, seed=seed, temperature=1.5).text

    with ThreadPoolExecutor(4) as pool:
        first, _, again, _ = pool.map(steps, [1, 2, 1, 3])
    assert first == again


def test_a_program_that_nothing_better_follows_has_no_steps(client, trajectory):
    answer = ask(client, trajectory[1], n=2, assignment="echo")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["reached"], answer.json()["steps"]) == (False, [])


def test_a_right_program_is_refused(client, trajectory):
    answer = ask(client, trajectory[2])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("already_right", "history")


def test_an_unknown_assignment_is_refused(client, trajectory):
    answer = ask(client, trajectory[0], assignment="triple")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_assignment")


def test_hostile_code_is_led_nowhere_and_harms_nothing(client):
    assert ask(client, "import os\ndef double(n): os._exit(0)", n=2).status_code == 200
    assert ask(client, "def double(n)\n  (", n=2).status_code == 200


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("history", {"history": []}),
        ("history", {"history": [{"code": STRANGE}] * (MAX_ATTEMPTS - MAX_STEPS + 1)}),
        ("history.0.code", {"history": [{"code": "#" * 1_000_000}]}),
        ("n", {"n": MAX_CANDIDATES + 1}),
        ("n", {"n": 0}),
        ("steps", {"steps": MAX_STEPS + 1}),
        ("temperature", {"temperature": 0}),  # all candidates would be the same
        ("weight", {"weight": 0.5}),
    ],
)
def test_an_invalid_field_is_named(client, field, body):
    answer = ask(client, STRANGE, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_the_page_shows_a_step_change_by_change(browser: Browser, client, trajectory):
    address = str(client.base_url).rstrip("/")
    with browser.new_page(reduced_motion="reduce") as page:
        page.set_default_timeout(20_000)
        page.goto(f"{address}/#view=watch&assignment=double&temperature=0&seed=5&at=1")
        page.get_by_text("A next step in your own words").click()
        page.get_by_role("button", name="Find it").click()
        stepper = page.locator(".stepper")
        said = stepper.get_by_role("status")
        back, forward = (stepper.get_by_role("button", name=name) for name in ("Back", "Next"))
        # Of both programs of the way: first the changes to the half right one, then those to the right one.
        expect(said).to_contain_text(re.compile(r"^Change 1 of 2\. $"))
        assert stepper.locator("ins > span").all_text_contents() == ["    n = int(n)\n", "    return n + 2\n"]
        expect(back).to_have_attribute("aria-disabled", "true")
        forward.click()
        expect(said).to_contain_text("Change 2 of 2. With all of it every test passes")
        assert stepper.locator("del > span").all_text_contents() == ["    return n + 2\n"]
        kept = stepper.locator(".program > :not(del) > span").all_text_contents()
        assert "".join(kept) == trajectory[2]
        expect(forward).to_have_attribute("aria-disabled", "true")
        back.click()
        expect(said).to_contain_text("Change 1 of 2")
        assert page.title() != "owned"


def test_changes_shown_one_by_one_lead_to_the_last_program(browser: Browser, client):
    programs = ["a\nb\nc\nd\n", "x\nb\nc\ny\nd\n", "x\nb\nd\n", "x\nb\nd\nz\n"]
    with browser.new_page() as page:
        page.goto(str(client.base_url))
        shown = page.evaluate(
            """async (programs) => (await import("/steer.js")).changes(programs)""", programs
        )
    before = programs[0]
    for rows in shown:
        assert "".join(f"{row['line']}\n" for row in rows if row["kind"] != "ins") == before
        before = "".join(f"{row['line']}\n" for row in rows if row["kind"] != "del")
        marked = [row["kind"] != "same" for row in rows]
        assert "".join("#" if one else " " for one in marked).split() == ["#" * sum(marked)]  # in one place
    assert before == programs[-1]
    assert len(shown) == 4
