"""Times logs to dialogs on a generated class, and beside the usual way of making dialogs."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from benchmarks.generated_class import generate_course
from tutee_grader.errors import TuteeError, UnavailableError
from tutee_grader.processes import start_processes
from tutee_grader.verdict import VERDICTS
from tutee_serializer.course import Course
from tutee_serializer.dialogs.formats import Format, feedback_turn, system_turn, task_turn, write_turn
from tutee_serializer.dialogs.selection import TRAJECTORY, SerializeConfig
from tutee_serializer.dialogs.serialize import serialize, write_dialogs
from tutee_serializer.dialogs.tokens import count_tokens, line_words
from tutee_serializer.dialogs.trees import normalise
from tutee_serializer.ingest.ingest import IngestConfig, ingest, parse_log

_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
)
_KEY = b"a key of generated students"
_RULES = SerializeConfig(min_turns=1, validation=0)


def bench_serializer(rows: int = 1_000_000, sample: int = 20_000) -> dict[str, Any]:
    """Ingest, validate and serialize `rows` submissions, and a tenth of them; then, on `sample` submissions,
    dialogs and the token count of each of their prefixes, our way and the usual way. Prints and returns it.

    Grading is left out: verdicts come from the generated scores. Every measurement is a process of its
    own; `peak_gb` is the most memory that the process of a stage and those it started had at one time, with
    pages that they share counted once. The tokenizer is one like the tiny preset's, for which ours has to
    tokenize each distinct line only once; for others it is each distinct turn (see `counting`). The usual
    way (pandas, a group per student and assignment, each prefix rendered and tokenized again) is given our
    syntax trees and our turns, and must come to the same counts.
    """
    tenth = _logs_to_dialogs(max(rows // 10, 1))
    whole = _logs_to_dialogs(rows)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "graded.parquet"
        course = _apart(_sample, Path(folder), sample)
        ours_s, ours = _apart(_our_way, table, course)
        usual_s, usual = _apart(_usual_way, table, course)
    if ours != usual:
        raise TuteeError("our way and the usual way count other tokens, so their times mean nothing")
    result = {
        "bench": "serializer",
        "rows": rows,
        "seconds": round(whole["ingest_s"] + whole["serialize_s"], 1),
        "ingest_s": round(whole["ingest_s"], 1),
        "serialize_s": round(whole["serialize_s"], 1),
        "peak_gb": round(max(whole["ingest_gb"], whole["serialize_gb"]), 2),
        "ingest_gb": round(whole["ingest_gb"], 2),
        "serialize_gb": round(whole["serialize_gb"], 2),
        "growth": round(_total(whole) / _total(tenth) / 10, 3),
        "sample": sample,
        "ours_s": round(ours_s, 2),
        "usual_s": round(usual_s, 2),
        "ratio": round(usual_s / ours_s, 1),
    }
    print(_shown(result, tenth))
    print(json.dumps(result))
    return result


def _total(times: dict[str, float]) -> float:
    return times["ingest_s"] + times["serialize_s"]


def _shown(result: dict[str, Any], tenth: dict[str, float]) -> str:
    return "\n".join(
        [
            f"{result['rows']:,} generated submissions: {result['seconds']} s, peak {result['peak_gb']} GB",
            f"  ingest and validate {result['ingest_s']} s, {result['ingest_gb']} GB; "
            f"serialize {result['serialize_s']} s, {result['serialize_gb']} GB",
            f"  a tenth of them took {_total(tenth):.1f} s: growth is {result['growth']} times linear",
            f"dialogs and the tokens of each prefix, {result['sample']:,} submissions:",
            f"  ours, each line tokenized once        {result['ours_s']:>8.2f} s",
            f"  pandas, each prefix tokenized again   {result['usual_s']:>8.2f} s, "
            f"{result['ratio']} times as long",
        ]
    )


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    with start_processes(1) as process:
        return process.submit(work, *arguments).result()


def _apart_measured(work: Callable[..., float], *arguments: Any) -> tuple[float, float]:
    """The seconds that `work` says it took, and the most memory that its processes had, in GB."""
    peak = 0
    with start_processes(1) as process:
        root = psutil.Process(process.submit(os.getpid).result())
        seconds = process.submit(work, *arguments)
        while not seconds.done():
            peak = max(peak, _memory(root))
            wait([seconds], timeout=0.1)
        return seconds.result(), peak / 1e9


def _memory(root: psutil.Process) -> int:
    """Bytes that a process and those below it have; each page that several share is counted once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total


def _logs_to_dialogs(rows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = _apart(generate_course, folder, rows)
        ingest_s, ingest_gb = _apart_measured(_ingest, folder, file)
        _apart(_grade, folder)
        serialize_s, serialize_gb = _apart_measured(_serialize, folder, file)
    return {
        "ingest_s": ingest_s,
        "ingest_gb": ingest_gb,
        "serialize_s": serialize_s,
        "serialize_gb": serialize_gb,
    }


def _ingest(folder: Path, file: Path) -> float:
    course = Course.load(file)
    began = time.perf_counter()
    ingest(
        course,
        IngestConfig(),
        key=_KEY,
        forgotten=(),
        simulated=folder / "none.csv",
        submissions=folder / "submissions.parquet",
        quarantine=folder / "quarantine.parquet",
        demographics=folder / "demographics.parquet",
        account=folder / "account.json",
        data_docs=folder / "data_docs",
    )
    return time.perf_counter() - began


def _grade(folder: Path) -> None:
    _verdicts(pl.scan_parquet(folder / "submissions.parquet")).sink_parquet(folder / "verdicts.parquet")


def _verdicts(submissions: pl.LazyFrame) -> pl.LazyFrame:
    grade = pl.col("logged_score")
    said = pl.format("{} of 10 tests passed.", (grade / 10).cast(pl.Int64))
    known = {"submission_id": pl.col("submission_id"), "grade": grade, "feedback": said}
    known |= {"status": pl.lit("compiles"), "tests": pl.lit([], VERDICTS["tests"])}
    return submissions.select(
        known.get(name, pl.lit(None, kind)).alias(name) for name, kind in VERDICTS.items()
    )


def _serialize(folder: Path, file: Path) -> float:
    course = Course.load(file)
    began = time.perf_counter()
    write_dialogs(
        folder / "submissions.parquet",
        folder / "verdicts.parquet",
        course,
        SerializeConfig(),
        Format.CODE,
        "summary",
        folder / "dialogs.parquet",
    )
    return time.perf_counter() - began


def _sample(folder: Path, rows: int) -> Path:
    course = Course.load(generate_course(folder, rows))
    submissions = parse_log(course, IngestConfig(), _KEY).submissions
    graded = submissions.lazy().join(_verdicts(submissions.lazy()), on="submission_id")
    graded.collect().write_parquet(folder / "graded.parquet")
    return course.file


def _tokenizer(codes: pl.Series) -> Any:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise UnavailableError("the bench tokenizes: pip install 'tutee-serializer[bench]'") from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = line_words()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(codes.head(2000).to_list(), trainer)
    return tokenizer


def _our_way(table: Path, file: Path) -> tuple[float, list[int]]:
    """Seconds, and the sorted token counts of every dialog's prefixes that end with a student's turn."""
    graded, course = pl.read_parquet(table), Course.load(file)
    tokenizer = _tokenizer(graded["code"])
    verdicts = graded.select("submission_id", "grade", "status", "feedback")
    submissions = graded.drop("grade", "status", "feedback")
    course.load_assignments()
    began = time.perf_counter()
    dialogs, _ = serialize(submissions, verdicts, course, _RULES, Format.CODE)
    turns = (
        dialogs.filter(feedback="summary")
        .select("dialog_id", "messages")
        .explode("messages")
        .unnest("messages")
    )
    rendered = turns.select(pl.format("<|im_start|>{}\n{}<|im_end|>\n", "role", "content")).to_series()
    turns = turns.with_columns(tokens=count_tokens(tokenizer, rendered))
    prefixes = turns.with_columns(pl.col("tokens").cum_sum().over("dialog_id")).filter(role="assistant")
    return time.perf_counter() - began, prefixes["tokens"].sort().to_list()


def _usual_way(table: Path, file: Path) -> tuple[float, list[int]]:
    """The same, as scripts for this do it."""
    from transformers import PreTrainedTokenizerFast

    graded, course = pl.read_parquet(table), Course.load(file)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_tokenizer(graded["code"]), chat_template=_TEMPLATE)
    tasks = {name: assignment.task for name, assignment in course.load_assignments()[0].items()}
    frame = graded.to_pandas()
    prefixes = []
    began = time.perf_counter()
    for _, attempts in frame.groupby(TRAJECTORY):
        rows: list[dict[Any, Any]] = attempts.sort_values("order").to_dict("records")
        messages = [
            {"role": "system", "content": system_turn(Format.CODE)},
            {"role": "user", "content": task_turn(Format.CODE, tasks[rows[0]["assignment"]])},
        ]
        last = None
        for row in rows:
            tree = normalise(row["code"]) or row["code"]
            if tree == last:
                continue
            last = tree
            messages.append({"role": "assistant", "content": write_turn(Format.CODE, None, row["code"])})
            prefixes.append(len(tokenizer.apply_chat_template(messages, return_dict=False)))
            if row["grade"] == 100:
                break
            said = feedback_turn(Format.CODE, row["feedback"], row["code"])
            messages.append({"role": "user", "content": said})
    return time.perf_counter() - began, sorted(prefixes)
