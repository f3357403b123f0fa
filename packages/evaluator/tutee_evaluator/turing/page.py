"""Writes a blinded test as one HTML page, which needs no network and scores the answers itself."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tutee_evaluator.turing.pairs import Pair
from tutee_grader.files import atomic_file


def write_page(
    pairs: Sequence[Pair], tasks: Mapping[str, str], course: str, synthetic: bool, page: Path
) -> None:
    """Writes the page to the file `page`, whole or not at all.

    `tasks` are the assignments' texts. Which side is real stands in the page, encoded: nobody reads it by
    accident, and a colleague is no opponent. Raises UnavailableError where the page cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    key = base64.b64encode(json.dumps([pair.real for pair in pairs]).encode()).decode()
    html = environment.get_template("turing.html").render(
        pairs=pairs, tasks=tasks, course=course, synthetic=synthetic, key=key
    )
    with atomic_file(page) as part:
        part.write_text(html, encoding="utf-8")
