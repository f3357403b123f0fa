from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Format, write_turn
from tutee_serializer.dialogs.turn_sizes import tokens_per_turn

PROGRAMS = ("x = 1\ny = 2\nz = 3\nw = 4", "x = 1\ny = 2\nz = 3\nw = 5", "x = 1")


def dialog(format: str) -> Dialog:
    dialog = Dialog.start(format, "summary", "Write it.")
    for program in PROGRAMS:
        dialog.append(program, "Grade: 0")
    dialog.grades, dialog.submission_ids = (0.0,) * 3, ("a", "b", "c")
    return dialog


def test_each_formats_mean_is_over_the_same_turns_whatever_the_dialogs_format() -> None:
    sizes = [tokens_per_turn([dialog(format)] * 2, len) for format in Format]
    assert all(one == sizes[0] for one in sizes)
    assert sizes[0].keys() == {"code", "dual", "plain_edits"}
    blocks = [len(f"```python\n{program}\n```") for program in PROGRAMS]
    assert sizes[0]["code"] == sum(blocks) / 3
    edits = [len("```\n4|w = 5\n```"), len("```\n2,4d\n```")]
    assert sizes[0]["plain_edits"] == (blocks[0] + sum(edits)) / 3


def test_a_tokenizer_with_markers_is_measured_by_its_own_edits() -> None:
    sizes = tokens_per_turn([dialog("edits")], len, Format.EDITS)
    assert sizes.keys() == {"code", "dual", "edits"}
    turns = [
        write_turn("edits", before, after) for before, after in zip((None, *PROGRAMS), PROGRAMS, strict=False)
    ]
    assert sizes["edits"] == sum(map(len, turns)) / 3


def test_no_turn_has_no_size() -> None:
    assert tokens_per_turn([], len) == {}
    assert tokens_per_turn([Dialog.start("code", "summary", "Write it.")], len) == {}
