"""The service's own description, in OpenAPI 3.1, with examples that work as they are."""

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.state import State
from serving.students import champion_name

OWN = {
    "task": "Write a function `double(n)` that returns twice n.",
    "tests": {
        "form": "calls",
        "tests": [{"call": "double(2)", "returns": "4"}, {"call": "double(5)", "returns": "10"}],
    },
}
HISTORY = [{"code": "def double(n):\n    print(n)\n", "tutor": "What does your function return?"}]


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, whose examples name a model and an assignment that are served now."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version="1", summary=app.summary, routes=app.routes)
        for path in described["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # those are answered by 400
        del described["paths"]["/rollout"]["post"]["responses"]["200"]["content"]["application/json"]
        app.openapi_schema = described
    described = copy.deepcopy(app.openapi_schema)
    for path, examples in _examples(app.state.service).items():
        body = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        body["examples"] = {name: {"value": value} for name, value in examples.items()}
    return described


def _examples(state: State) -> dict[str, dict[str, Any]]:
    courses = list(state.students.courses.values())
    model = champion_name(courses[0].name) if courses else "tutee-demo"
    names = [name for course in courses[:1] for name in course.assignments] or ["count_vowels"]
    given = {"model": model, "assignment": names[0]}
    own = {"model": model, "assignment": OWN, "history": HISTORY, "temperature": 0.7, "seed": 1}
    messages = [{"role": "user", "content": OWN["task"]}]
    return {
        "/next_submission": {"assignment": {**given, "n": 2, "seed": 1}, "own": own},
        "/rollout": {"assignment": {**given, "attempts": 4, "seed": 1}, "own": {**own, "attempts": 2}},
        "/steer": {"own": {**own, "n": 4, "steps": 2}},
        "/v1/chat/completions": {
            "chat": {"model": model, "messages": messages, "seed": 1},
            "stream": {"model": model, "messages": messages, "stream": True},
        },
    }
