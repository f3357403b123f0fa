"""What every test runs under."""

import gc
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests share the machine with others of their kind; two threads that wait for each other on a busy core
# take many times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: one that began last would be waited for by all other processes.

    They come in reverse order: so the whole run is before the files that wait for each other's project.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path in slow, item.path), reverse=True)


def pytest_collection_finish() -> None:
    """What the imports made lives as long as the process; a search of it for garbage takes a second."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Ends with how many tests were skipped, why, and so how to have them run."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if not reasons:
        return
    terminalreporter.section(f"{reasons.total()} skipped; what they need in order to run")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:>4}  {reason}")


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[..., Any]:
    """Makes a small tokenizer with the chat template of a model family, as the models on the hub have it."""

    def make(family: str, texts: Iterable[str] = ("def f(x):\n    return x",), **special: str) -> Any:
        import trl
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        template = (Path(trl.__file__).parent / "chat_templates" / f"{family}.jinja").read_text()
        markup = re.findall(r"<\|\w+\|>|<(?:start|end)_of_turn>|<｜[^｜]+｜>", template)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=sorted({"<bos>", "<eos>", *markup, *special.values()}),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            chat_template=template,
            name_or_path=family,
            **{"bos_token": "<bos>", "eos_token": "<eos>", **special},
        )

    return make


class Browser:
    """A headless Chromium, controlled over its DevTools protocol."""

    def __init__(self, executable: str, profile: Path) -> None:
        import httpx
        from websockets.sync.client import connect

        switches = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
            --disable-background-networking --disable-component-update --remote-debugging-port=0"""
        self.process = subprocess.Popen(
            [executable, *switches.split(), f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
        )
        port = (
            next(line for line in self.process.stderr if "DevTools listening" in line)
            .split(":")[-1]
            .split("/")[0]
        )
        tabs = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self.socket = connect(address, max_size=None, proxy=None)
        self.calls = 0
        self.events: list[dict] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict:
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.calls:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Returns when a JavaScript condition holds."""
        wait = f"""new Promise((done) => {{
            const end = performance.now() + {seconds * 1000};
            const check = () => {{
                if ({condition}) done(true);
                else if (performance.now() > end) done(false);
                else setTimeout(check, 20);
            }};
            check();
        }})"""
        assert self.evaluate(wait), (
            f"never: {condition}; the page says {self.evaluate('document.body?.innerText')!r}"
        )

    def open(self, address: str, ready: str) -> None:
        """Returns when the page at the address is there and the JavaScript condition `ready` holds."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.until(ready)

    def press(self, key: str, text: str = "") -> None:
        """Presses and releases one key of the keyboard."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **more,
            )

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    browser = Browser(executable, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()
