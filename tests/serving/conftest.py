"""A synthetic student of a synthetic course: a very small model that has memorised one trajectory."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

TASK = "Write a function `double(n)` that returns twice n."
# The student's submissions in order. The first one holds markup that a page must not run.
WITH_SCRIPT = "def double(n):\n    return '<script>document.title = \"owned\"</script><b>bold</b>'\n"
HALF_RIGHT = "def double(n):\n    n = int(n)\n    return n + 2\n"
RIGHT = "def double(n):\n    n = int(n)\n    return 2 * n\n"
TRAJECTORY = (WITH_SCRIPT, HALF_RIGHT, RIGHT)
TESTS = """form: calls
limits: {seconds: 1, memory_mb: 128}
tests:
  - {call: "double(2)", returns: "4"}
  - {call: "double(5)", returns: "10"}
"""
ECHO = """form: stdio
limits: {seconds: 1, memory_mb: 128}
tests:
  - {stdin: "hi\\n", stdout: "hi\\n"}
"""
COURSE = """name: toy
synthetic: true
logs: {path: log.csv}
columns: {student: who, assignment: task, code: code, attempt: n, semester: term}
assignments: {path: assignments}
semesters: {train: ["1"], test: ["2"]}
"""
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORMAT = "edits"


@pytest.fixture(scope="session", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> None:
    """BentoML keeps its files out of the user's home, and no library uses the network."""
    os.environ["BENTOML_HOME"] = str(tmp_path_factory.mktemp("bentoml"))
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port that nobody listens on."""
    return _free_port


@pytest.fixture(scope="session")
def trajectory() -> tuple[str, ...]:
    return TRAJECTORY


@pytest.fixture(scope="session")
def course_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    for name, task, tests in (("double", TASK, TESTS), ("echo", "Repeat the line that is typed.", ECHO)):
        assignment = folder / "assignments" / name
        assignment.mkdir(parents=True)
        (assignment / "task.md").write_text(task)
        (assignment / "tests.yaml").write_text(tests)
    (folder / "log.csv").write_text("who,task,code,n,term\n")
    (folder / "course.yaml").write_text(COURSE)
    return folder / "course.yaml"


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory, course_file: Path) -> Path:
    """The folder of an adapter, with its base beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from tutee_grader import Assignment, Grader
    from tutee_serializer.card import StudentCard
    from tutee_serializer.dialogs.dialog import Dialog

    assignment = Assignment.load(course_file.parent / "assignments" / "double")
    with Grader(workers=1) as grader:
        verdicts = grader.grade([(assignment, program) for program in TRAJECTORY])
    dialog = Dialog.start(FORMAT, "summary", assignment.task)
    for program, verdict in zip(TRAJECTORY, verdicts, strict=True):
        dialog.append(program, verdict)
    tokenizer = make_tokenizer([message["content"] for message in dialog.messages])
    text = tokenizer.apply_chat_template(dialog.messages, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]

    torch.manual_seed(0)
    torch.set_num_threads(1)  # a model this small is slower on two, much slower where they are shared
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=1024,
        tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break

    models = tmp_path_factory.mktemp("models")
    card = StudentCard("base", "toy", ".", FORMAT, "summary", 1024, 160, "test")
    model.save_pretrained(models / "base")
    tokenizer.save_pretrained(models / "base")
    card.save(models / "base")
    # An untrained adapter changes nothing, so the student writes what its base writes.
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(models / "sft")
    StudentCard("sft", "toy", "../base", FORMAT, "summary", 1024, 160, "test").save(models / "sft")
    return models / "sft"


def make_tokenizer(texts: list[str]):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from tutee_serializer.dialogs.formats import markers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in markers(FORMAT)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special[0],
        eos_token=special[2],
        additional_special_tokens=[special[1]],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory, adapter: Path, course_file: Path) -> Path:
    """The file that the service reads: the adapter as champion 7 of the course `toy`, and its base as 6."""
    from serving.catalog import MODEL_CARD, Catalog, Course, Version
    from tutee_grader.files import folder_hash

    base = adapter.parent / "base"
    toy = Course(
        synthetic=True,
        assignments=course_file.parent / "assignments",
        names=("double", "echo"),
        champion=7,
        challenger=6,
        versions={
            6: Version(method="base", folder=base),
            7: Version(method="sft", folder=adapter, metrics={"grade_proximity": 0.8125}),
        },
    )
    file = tmp_path_factory.mktemp("catalog") / "catalog.json"
    # peft writes a card of its own into the adapter's folder.
    hashes = {folder: folder_hash(folder, but=MODEL_CARD) for folder in (base, adapter)}
    Catalog(courses={"toy": toy}, hashes=hashes).save(file)
    return file


@contextmanager
def running(catalog: Path, folder: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """The real service in a process of BentoML's; `folder` gets its log."""
    from serving.run import stop_service

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    command = ["-m", "bentoml", "serve", "serving.service:ArtificialStudent", "--host", "127.0.0.1"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "TUTEE_CATALOG": str(catalog),
                "TUTEE_SECRET": "a secret of the service",
                **environment,
            },
            cwd=Path(__file__).parents[2],
            process_group=0,
        )
    process.log, process.port = log, port
    try:
        wait_until_ready(process)
        yield process
    finally:
        stop_service(process)


def wait_until_ready(process: subprocess.Popen, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while True:
        assert process.poll() is None and time.monotonic() < deadline, process.log.read_text()
        try:
            if httpx.get(f"http://127.0.0.1:{process.port}/readyz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)


@pytest.fixture(scope="session")
def service(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen]:
    with running(catalog, tmp_path_factory.mktemp("service")) as process:
        yield process


@pytest.fixture(scope="session")
def port(service: subprocess.Popen) -> int:
    return service.port


@pytest.fixture(scope="session")
def client(service: subprocess.Popen, port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        yield client


@contextmanager
def listening(app: ASGIApp, host: str = "127.0.0.1") -> Iterator[int]:
    """Serves a small app by a real uvicorn of this process, with BentoML's settings; gives its port."""
    config = uvicorn.Config(app, host=host, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    bound = config.bind_socket()
    bound.listen()  # so who connects before the server accepts waits
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True  # without waiting for a test's open connection
        thread.join(30)


@pytest.fixture(scope="session")
def serve_app() -> Callable[..., AbstractContextManager[int]]:
    return listening
