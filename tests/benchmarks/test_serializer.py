import polars as pl

from benchmarks.generated_class import generate_course
from benchmarks.serializer import _our_way, _sample, _usual_way
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
