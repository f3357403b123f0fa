"""The table of methods: complete, in order, and cheap to read."""

import subprocess
import sys
from pathlib import Path

import pytest

import tutee_trainer.methods
from tutee_trainer.method import load_methods

FOLDER = Path(tutee_trainer.methods.__file__).parent


def test_every_module_of_the_folder_is_a_method_of_its_name() -> None:
    assert set(load_methods()) == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}


def test_a_method_comes_after_the_one_it_starts_from() -> None:
    names = list(load_methods())
    for method in load_methods().values():
        assert method.start is None or names.index(method.start) < names.index(method.name)


@pytest.mark.parametrize("name", load_methods())
def test_methods_that_share_a_section_parse_it_alike(name: str) -> None:
    method = load_methods()[name]
    assert (method.arguments is None) == (method.trl_config is None)
    for other in load_methods().values():
        if other.section == method.section:
            assert (other.config, other.optional) == (method.config, method.optional)


@pytest.mark.parametrize("name", load_methods())
def test_a_method_is_described_by_a_sentence_without_its_name(name: str) -> None:
    description = load_methods()[name].description
    assert description[0].isupper() and description.endswith(".")
    assert not description.startswith(name.upper())


def test_the_table_is_read_without_the_libraries_that_train() -> None:
    code = (
        "import sys; from tutee_trainer.method import load_methods; load_methods(); "
        "print({'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
