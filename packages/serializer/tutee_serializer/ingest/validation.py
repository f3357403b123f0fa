"""Great Expectations on the submissions of a course, with Data Docs that look right without a network."""

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tutee_serializer.course import Course
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.data_docs import add_site, publish
from tutee_serializer.ingest.drift import Measure, drift_checks
from tutee_serializer.ingest.expectations import Check, raise_errors
from tutee_serializer.schemas import SUBMISSIONS, TRAJECTORY
from tutee_serializer.semesters import Roles

if TYPE_CHECKING:
    import great_expectations as gx

SAMPLES = 5
_SHARE = "share of rows in quarantine"


def validate(
    submissions: pl.LazyFrame,
    course: Course,
    roles: Roles,
    account: RowAccount,
    drift: pl.DataFrame,
    scratch: Path,
    docs: Path,
    max_quarantined: float,
    warn_drift: Mapping[Measure, float],
    max_drift: Mapping[Measure, float],
) -> list[Check]:
    """Checks a SUBMISSIONS table, its row account and its drift, and writes Data Docs to the folder `docs`.

    Great Expectations writes into the folder `scratch`, which the caller removes.
    `max_quarantined` is the largest share of the log's rows that may be in quarantine; `warn_drift` and
    `max_drift` are the thresholds of `drift_checks`. Raises ValidationError, with sample rows, where an
    expectation of level error fails; warnings are returned.
    """
    scratch.mkdir()
    context = new_context(scratch)
    checks = check(context, submissions, course, roles, account, max_quarantined)
    checks += drift_checks(drift, warn_drift, max_drift)
    context.build_data_docs()
    publish(scratch / "docs", docs, account, checks, drift)
    raise_errors(checks, str(course.file), f"; see {docs / 'index.html'}")
    return checks


def check(
    context: "gx.AbstractDataContext",
    submissions: pl.LazyFrame,
    course: Course,
    roles: Roles,
    account: RowAccount,
    max_quarantined: float,
) -> list[Check]:
    """Runs every suite in a context of Great Expectations; whatever fails is among the checks returned."""
    tables = {
        "schema": _schema_table(submissions),
        "submissions": _submissions_table(submissions),
        "log": pl.DataFrame({_SHARE: [account.rows("quarantine") / account.rows("in")]}),
    }
    expected = {
        "schema": _schema_expectations(),
        "submissions": _submissions_expectations(course, roles),
        "log": _log_expectations(max_quarantined),
    }
    return [check for suite in tables for check in _run(context, suite, tables[suite], expected[suite])]


def new_context(folder: Path) -> "gx.AbstractDataContext":
    """A context that keeps all it writes below `folder`, its pages in `docs`."""
    gx, folder = _great_expectations(), folder.resolve()  # it takes no relative ones
    # A context comes with a site in a temporary folder, which it never removes.
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        context = gx.get_context(mode="ephemeral")
    finally:
        tempfile.tempdir = before
    context.variables.progress_bars = {"globally": False}
    sites = context.variables.data_docs_sites
    assert sites is not None
    for name in list(sites):
        context.delete_data_docs_site(name)
    add_site(context, folder / "docs")
    return context


def import_in_background() -> None:
    """Begins to import Great Expectations, which takes seconds, while something else is done."""
    threading.Thread(target=_great_expectations).start()


def _great_expectations() -> Any:
    # Imported here because it takes seconds; without telemetry.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx


def _schema_table(submissions: pl.LazyFrame) -> pl.DataFrame:
    # Great Expectations cannot compare Arrow types; their names it can.
    types = [(name, str(kind)) for name, kind in submissions.collect_schema().items()]
    return pl.DataFrame(types, schema=["column", "type"], orient="row")


def _schema_expectations() -> list[Any]:
    import great_expectations.expectations as gxe

    pairs = [(name, str(kind)) for name, kind in SUBMISSIONS.items()]
    return [
        gxe.ExpectTableRowCountToEqual(value=len(pairs)),
        gxe.ExpectColumnPairValuesToBeInSet(column_A="column", column_B="type", value_pairs_set=pairs),
    ]


def _submissions_table(submissions: pl.LazyFrame) -> pl.DataFrame:
    """The columns of which something is expected, in as few bytes as a university's log asks for."""
    few = pl.col(TRAJECTORY).cast(pl.Categorical)
    backwards = pl.col("submitted_at").diff().over(TRAJECTORY, order_by="order")
    return (
        submissions.select(
            "submission_id",
            few,
            "order",
            "source_row",
            "logged_score",
            "submitted_at",
            pl.col("code").str.len_chars().alias("code length"),
        )
        .collect(engine="streaming")
        .with_columns((backwards < timedelta()).fill_null(False).alias("clock runs backwards"))
        .drop("submitted_at")
    )


def _submissions_expectations(course: Course, roles: Roles) -> list[Any]:
    import great_expectations.expectations as gxe

    must_be_there = ("submission_id", "semester", "student", "assignment", "order", "source_row")
    assignments, _ = course.load_assignments()
    expectations = [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in must_be_there),
        gxe.ExpectColumnValuesToBeUnique(column="submission_id"),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["semester", "student", "assignment", "order"]),
        gxe.ExpectColumnValuesToBeInSet(column="assignment", value_set=sorted(assignments)),
        gxe.ExpectColumnDistinctValuesToContainSet(column="semester", value_set=roles.used),
        gxe.ExpectColumnDistinctValuesToBeInSet(column="semester", value_set=roles.used),
        gxe.ExpectColumnValuesToBeBetween(column="order", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="logged_score", min_value=0, max_value=100),
        gxe.ExpectColumnValuesToBeBetween(column="code length", min_value=1),
        gxe.ExpectColumnValuesToBeInSet(
            column="clock runs backwards", value_set=[False], mostly=0.98, severity="warning"
        ),
    ]
    if {"score", "max_score"} & set(course.columns.mapping()):
        expectations.append(
            gxe.ExpectColumnValuesToNotBeNull(column="logged_score", mostly=0.9, severity="warning")
        )
    return expectations


def _log_expectations(max_quarantined: float) -> list[Any]:
    import great_expectations.expectations as gxe

    return [gxe.ExpectColumnValuesToBeBetween(column=_SHARE, min_value=0, max_value=max_quarantined)]


def _run(
    context: "gx.AbstractDataContext", suite: str, table: pl.DataFrame, expected: list[Any]
) -> list[Check]:
    import great_expectations as gx

    source = context.data_sources.add_pandas(suite)
    batch = source.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("all")
    named = context.suites.add(gx.ExpectationSuite(suite))
    for expectation in expected:
        named.add_expectation(expectation)
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=suite, data=batch, suite=named)
    )
    identity = [name for name in ("submission_id", "source_row", "semester") if name in table.columns]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = definition.run(
            batch_parameters={"dataframe": table.to_pandas()},
            result_format={
                "result_format": "SUMMARY",
                "partial_unexpected_count": SAMPLES,
                "unexpected_index_column_names": identity,
            },
        )
    return [_check(suite, result, bool(identity)) for result in outcome.results]


def _check(suite: str, result: Any, identified: bool) -> Check:
    config = result.expectation_config
    raised = (result.exception_info or {}).get("exception_message")
    found = result.result
    if raised:
        observed = f"could not be checked: {raised}"
    elif "element_count" in found:
        observed = f"{found['unexpected_count']:,} of {found['element_count']:,} rows"
    else:
        observed = f"observed {found.get('observed_value')}"
    arguments = {
        name: value
        for name, value in config.kwargs.items()
        if name not in ("batch_id", "result_format") and value is not None
    }
    words = config.type.replace("_", " ")
    settings = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return Check(
        suite=suite,
        expectation=f"{words} [{settings}]",
        severity="error" if config.severity == "critical" else str(config.severity.value),
        passed=bool(result.success),
        observed=observed,
        samples=[_plain(row) for row in found.get("partial_unexpected_index_list") or [] if identified],
    )


def _plain(sample: dict[str, Any]) -> dict[str, Any]:
    """Numbers as Python's, which are printed as such, not as numpy's."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in sample.items()}
