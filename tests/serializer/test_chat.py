"""A model's own chat template: what the student writes, where a turn ends, and what cannot be used."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.chat_template_utils import get_training_chat_template

from tutee_grader.errors import UnavailableError
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.tokens import TokenCounter

# Families whose templates differ in kind: plain turns, thoughts, a date, no system role, no alternation.
FAMILIES = ("qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3", "llama3_2", "gemma", "gemma3", "phi3")
DIALOG = [
    {"role": "system", "content": "You are a student."},
    {"role": "user", "content": "Task:\nWrite f."},
    {"role": "assistant", "content": "```python\ndef f(x)\n```"},
    {"role": "user", "content": "Grade 0."},
    {"role": "assistant", "content": "```python\ndef f(x):\n    return x\n```"},
]
TUTORED = [*DIALOG[:4], {"role": "user", "content": "Tutor: look at line 1."}, DIALOG[4]]


@pytest.fixture(params=FAMILIES)
def chat(request: pytest.FixtureRequest, tokenizer_of: Callable[..., Any]) -> Chat:
    return Chat(tokenizer_of(request.param))


def written(chat: Chat, messages: list[dict[str, str]]) -> list[str]:
    """What the student writes in a dialog, run by run."""
    runs: list[list[int]] = [[]]
    for token, is_student in zip(*chat.encode(messages), strict=True):
        if is_student:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [chat.tokenizer.decode(run) for run in runs if run]


def test_the_student_writes_each_turn_and_its_end(chat: Chat) -> None:
    end = chat.tokenizer.decode([chat.end])
    for dialog in (DIALOG, TUTORED):
        assert written(chat, dialog) == [m["content"] + end for m in dialog if m["role"] == "assistant"]


def test_a_turn_is_trained_after_the_tokens_it_is_written_after(chat: Chat) -> None:
    for dialog in (DIALOG, TUTORED):
        ids, mask = chat.encode(dialog)
        for place, message in enumerate(dialog):
            if message["role"] == "assistant":
                prompt, reply = chat.prompt(dialog[:place]), chat.reply(message["content"])
                assert ids[: len(prompt) + len(reply)] == prompt + reply
                assert not any(mask[len(prompt) - 1 : len(prompt)]) and all(mask[len(prompt) :][: len(reply)])


def test_a_reply_is_read_as_it_was_written(chat: Chat) -> None:
    content = "```python\ndef f(x) :\n    return x , 'ä'\n```"
    assert chat.decode(chat.reply(content)) == content
    assert chat.decode(chat.reply(content)[:-1]) == content


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3_instruct_2507", "llama3", "gemma3", "phi3"])
def test_the_dialog_is_what_the_template_writes(family: str, tokenizer_of: Callable[..., Any]) -> None:
    tokenizer = tokenizer_of(family)
    own = tokenizer.apply_chat_template(DIALOG, tokenize=False)
    assert own.startswith(Chat(tokenizer).text(DIALOG))


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3", "gemma3", "phi3"])
def test_the_mask_is_that_of_the_generation_marks_where_trl_knows_the_template(
    family: str, tokenizer_of: Callable[..., Any]
) -> None:
    tokenizer = tokenizer_of(family)
    marked = tokenizer.apply_chat_template(
        DIALOG,
        chat_template=get_training_chat_template(tokenizer),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    marks = zip(marked["input_ids"], marked["assistant_masks"], strict=True)
    theirs = [token for token, mask in marks if mask]
    ids, mask = Chat(tokenizer).encode(DIALOG)
    ours = [token for token, is_student in zip(ids, mask, strict=True) if is_student]
    # Some marks also enclose the thought, and newlines around a turn that nobody generates.
    text = tokenizer.decode(theirs).replace("<think>\n\n</think>\n\n", "").replace("\n```python", "```python")
    end = tokenizer.decode([Chat(tokenizer).end])
    # Phi ends a whole dialog with another token still.
    assert text.replace(f"{end}\n", end).removesuffix("<eos>") == tokenizer.decode(ours)


def test_a_model_that_thinks_gets_an_empty_thought_before_each_turn(tokenizer_of: Callable[..., Any]) -> None:
    chat = Chat(tokenizer_of("qwen3"))
    before = "<|im_start|>assistant\n<think>\n\n</think>\n\n```python"
    assert chat.text(DIALOG).count(before) == 2
    assert chat.tokenizer.decode(chat.prompt(DIALOG[:4])).endswith(before.removesuffix("```python"))


def test_a_model_that_always_thinks_gets_its_thought_closed(tokenizer_of: Callable[..., Any]) -> None:
    chat = Chat(tokenizer_of("deepseek_r1_distill"))
    assert chat.tokenizer.decode(chat.prompt(DIALOG[:2])).endswith("<think>\n\n</think>\n\n")


def test_a_model_that_does_not_think_gets_no_thought(tokenizer_of: Callable[..., Any]) -> None:
    assert "<think>" not in Chat(tokenizer_of("qwen3_instruct_2507")).text(DIALOG)


def test_without_a_system_role_the_system_turn_begins_the_task(tokenizer_of: Callable[..., Any]) -> None:
    text = Chat(tokenizer_of("gemma")).text(TUTORED)
    assert "user\nYou are a student.\n\nTask:\nWrite f.<end_of_turn>" in text
    assert "user\nGrade 0.\n\nTutor: look at line 1.<end_of_turn>" in text  # roles must alternate


def test_the_date_of_the_day_is_in_no_prompt(tokenizer_of: Callable[..., Any]) -> None:
    text = Chat(tokenizer_of("llama3_2")).text(DIALOG)
    assert "Today Date: 26 Jul 2024" in text


@pytest.mark.parametrize("special", ["<file_sep>", "[TOOL_CALLS]"])
def test_a_special_token_in_a_turn_is_no_markup(special: str, tokenizer_of: Callable[..., Any]) -> None:
    tokenizer = tokenizer_of("qwen2_5", unk_token=special)
    messages = [*DIALOG[:4], {"role": "assistant", "content": f"print('{special}')"}]
    ids, _ = Chat(tokenizer).encode(messages)
    assert tokenizer.convert_tokens_to_ids(special) not in ids


@settings(max_examples=30, deadline=None)
@given(
    contents=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])).map(lambda text: f"x{text}x"),
        min_size=2,
        max_size=7,
    )
)
@pytest.mark.parametrize("family", ["qwen3", "llama3_2", "gemma", "phi3"])
def test_a_dialog_has_no_more_tokens_than_are_counted(
    family: str, contents: list[str], tokenizer_of: Callable[..., Any]
) -> None:
    if family not in CHATS:
        CHATS[family] = Chat(tokenizer_of(family))
    chat = CHATS[family]
    count = TokenCounter(chat)
    roles = ["system", "user", *["assistant", "user"] * 3]
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    counted = sum(count(content) for content in contents)
    assert len(chat.encode(messages)[0]) <= counted + 100 - count.room(100)


CHATS: dict[str, Any] = {}


def test_a_template_that_ends_turns_with_plain_text_is_refused_by_both_tokens(
    tokenizer_of: Callable[..., Any],
) -> None:
    tokenizer = tokenizer_of("qwen2_5")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n###\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(UnavailableError) as raised:
        Chat(tokenizer)
    assert "###" in str(raised.value) and "'<eos>'" in str(raised.value)
    assert raised.value.exit_code == 3


def test_a_model_without_a_template_is_refused(tokenizer_of: Callable[..., Any]) -> None:
    tokenizer = tokenizer_of("qwen2_5")
    tokenizer.chat_template = None
    with pytest.raises(UnavailableError, match="instruction-tuned"):
        Chat(tokenizer)


@pytest.mark.parametrize("family", ["gptoss", "idefics3"])
def test_a_template_that_rewrites_or_drops_turns_is_refused_with_what_it_writes(
    family: str, tokenizer_of: Callable[..., Any]
) -> None:
    with pytest.raises(UnavailableError, match=family):
        Chat(tokenizer_of(family))
