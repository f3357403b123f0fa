"""The usual way to serve a model, which `tutee bench serve` compares with: one `generate` per request.

`python -m benchmarks.unbatched FOLDER PORT` serves the student in a folder on loopback.
"""

import sys
import threading
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.rollout import generate
from tutee_evaluator.engines.transformers import Student
from tutee_serializer.dialogs.dialog import Dialog


class Body(BaseModel):
    """What is read of a chat request: a dialog as the student was trained on."""

    messages: list[dict[str, str]]
    temperature: float
    seed: int


def make_app(student: Student) -> FastAPI:
    """Answers chat requests, one after the other."""
    app = FastAPI()
    one_at_a_time = threading.Lock()
    card = student.card

    @app.get("/readyz")
    def ready() -> None:
        pass

    @app.post("/v1/chat/completions")
    def complete(body: Body) -> dict[str, Any]:
        prompt = student.prompt(Dialog(card.format, card.feedback, body.messages))
        with one_at_a_time:
            torch.manual_seed(body.seed)
            turn = generate(student, prompt, body.temperature)
        message = {"role": "assistant", "content": student.chat.decode(turn)}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(turn)}
        return {"model": "generate", "choices": [{"index": 0, "message": message}], "usage": usage}

    return app


if __name__ == "__main__":
    app = make_app(Student.load(Path(sys.argv[1])))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
