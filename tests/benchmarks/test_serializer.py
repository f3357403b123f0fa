import subprocess
import sys

import polars as pl

from benchmarks.generated_class import generate_course
from benchmarks.serializer import _apart_measured, _logs_to_dialogs, _our_way, _sample, _usual_way
from tutee_serializer.course import Course
from tutee_serializer.ingest.ingest import IngestConfig, parse_log


def test_a_generated_class_has_the_asked_size_and_is_the_same_every_time(tmp_path):
    first, second = (generate_course(tmp_path / name, 500) for name in "ab")
    assert (first.parent / "log.csv").read_bytes() == (second.parent / "log.csv").read_bytes()
    course = Course.load(first)
    submissions = parse_log(course, IngestConfig(), b"a key only for tests").submissions
    assert submissions.height == 500
    assert submissions["code"].n_unique() > 400


def test_both_ways_of_the_bench_count_the_same_tokens(tmp_path):
    course = _sample(tmp_path, 400)
    table = tmp_path / "graded.parquet"
    _, ours = _our_way(table, course)
    _, usual = _usual_way(table, course)
    assert ours == usual
    assert 0 < len(ours) <= pl.read_parquet(table).height


def start_and_wait(code: str) -> float:
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1.5


def test_the_memory_of_a_stage_is_that_of_the_processes_it_starts_too():
    code = "import hashlib; data = b'x' * 400_000_000; [hashlib.sha256(data) for _ in range(3)]"
    seconds, peak = _apart_measured(start_and_wait, code)
    assert seconds == 1.5
    assert 0.4 < peak < 0.8


def test_ingest_and_serialize_are_measured_from_file_to_file():
    assert all(0 < value < 60 for value in _logs_to_dialogs(300).values())
