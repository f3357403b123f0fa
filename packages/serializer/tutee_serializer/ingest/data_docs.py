"""Data Docs: Great Expectations' pages, made to look right without a network, and a first page of ours."""

import re
from collections.abc import Iterable
from html import escape
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tutee_grader.files import atomic_dir
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.expectations import Check

if TYPE_CHECKING:
    import great_expectations as gx


def add_site(context: "gx.AbstractDataContext", folder: Path) -> None:
    """Makes `context` build its pages in `folder`."""
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("tutee", site)


def publish(built: Path, docs: Path, account: RowAccount, checks: list[Check], drift: pl.DataFrame) -> None:
    """Replaces the pages in `docs` by those in `built`, changed so that they ask nothing of the network.

    The first page shows `account`, `checks` and `drift` (of `drift_table`).
    """
    style = resources.files("tutee_serializer.ingest").joinpath("data_docs.css").read_text(encoding="utf-8")
    pages = {}
    with atomic_dir(docs) as folder:
        for page in built.rglob("*.html"):
            if page.parent == built:  # its own index
                continue
            # The path holds the moment of the run; ours does not, so that a page keeps its address.
            target = folder / page.relative_to(built).parts[0] / page.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_offline(page.read_text(encoding="utf-8"), style), encoding="utf-8")
            if target.parent.name == "validations":
                pages[page.stem.split("-")[0]] = target.relative_to(folder).as_posix()
        (folder / "index.html").write_text(_index(account, checks, drift, pages, style), encoding="utf-8")


def _offline(page: str, style: str) -> str:
    """Without scripts, and remote styles and pictures, which leave it blank where there is no network."""
    page = re.sub(r"<link\b[^>]*>|<img\b[^>]*>", "", page)
    page = re.sub(r"<script\b.*?</script>|<footer\b.*?</footer>", "", page, flags=re.DOTALL)
    page = re.sub(r'href="[./]*expectations/', 'href="../expectations/', page)
    page = re.sub(r'href="[./]*index\.html"', 'href="../index.html"', page)
    return page.replace("</head>", f"<style>\n{style}</style>\n</head>", 1)


def _index(
    account: RowAccount, checks: list[Check], drift: pl.DataFrame, pages: dict[str, str], style: str
) -> str:
    title = f"Data of {account.course}" + (" (a synthetic course)" if account.synthetic else "")
    rows = [(step.step, step.kind, f"{step.rows:,}") for step in account.flow]
    suites = []
    for suite, group in groupby(checks, key=lambda check: check.suite):
        members = list(group)
        failed = [check for check in members if not check.passed]
        errors = sum(check.severity == "error" for check in failed)
        state = _mark(not failed) if not errors else _mark(False)
        link = f'<a href="{escape(pages[suite])}">{escape(suite)}</a>' if suite in pages else escape(suite)
        suites.append((link, state, str(len(members)), str(errors), str(len(failed) - errors)))
    failures = [
        (escape(check.suite), check.severity, escape(check.expectation), escape(check.observed))
        for check in checks
        if not check.passed
    ]
    files = [
        (escape(source.name), f"{source.rows:,}", escape(source.encoding), f"{source.repaired:,}")
        for source in account.sources
    ]
    broken = [(escape(name), escape(reason)) for name, reason in account.broken_assignments.items()]
    body = [
        f"<h1>{escape(title)}</h1>",
        "<h2>Where every row went</h2>",
        _table(("step", "kind", "rows"), [tuple(map(escape, row)) for row in rows]),
        *(f"<p>{escape(line)}</p>" for line in account.semesters),
        "<h2>Expectations</h2>",
        _table(("suite", "", "expectations", "errors", "warnings"), suites),
        _table(("suite", "level", "expectation that failed", "observed"), failures) if failures else "",
        "<h2>Each semester against the one before</h2>" + _drift(drift) if drift.height else "",
        "<h2>Files of the log</h2>",
        _table(("file", "rows", "encoding", "lines repaired"), files),
        "<h2>Assignments left out</h2>" + _table(("assignment", "reason"), broken) if broken else "",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>\n{style}</style></head>\n<body>{''.join(body)}</body></html>\n"
    )


def _drift(drift: pl.DataFrame) -> str:
    rows = [
        [escape(cell if isinstance(cell, str) else _figure(cell)) for cell in row]
        for row in drift.iter_rows()
    ]
    return _table([name.replace("_", " ") for name in drift.columns], rows)


def _figure(value: float | list[str] | None) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else f"{value:+.2f}"


def _mark(passed: bool) -> str:
    return '<b class="text-success">✓</b>' if passed else '<b class="text-danger">✗</b>'


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in header)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table>\n"
