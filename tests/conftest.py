"""What every test runs under."""

import gc
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from flows.environment import collect_less_garbage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A quarter of the time that the imports of a worker take.
collect_less_garbage()

# Tests share the machine with others of their kind; two threads that wait for each other on a busy core
# take many times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test says how fast something is: on a busy machine it would fail now and then.
settings.register_profile("tutee", deadline=None)
settings.load_profile("tutee")


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


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium. Closed after each file: while it is open, no other test here can run asyncio."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()
