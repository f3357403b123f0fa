"""The chat template of every student, and the tokens that mark a turn."""

from pathlib import Path

from tutee_grader.errors import TuteeError

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
FILE = Path(__file__).with_name("chat_template.jinja")


def chat_template() -> str:
    """The template in Jinja; its generation marks enclose what the student writes."""
    return FILE.read_text(encoding="utf-8")


def check_template() -> None:
    """Raises TuteeError where the template's generation marks enclose more or less than the student's turns.

    Needs neither a tokenizer nor weights: the template is rendered as text.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    roles = ("system", "user", "assistant", "user", "assistant")
    messages = [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(roles)]
    (text,), (marks,) = render_jinja_template(
        conversations=[messages], chat_template=chat_template(), return_assistant_tokens_mask=True
    )
    marked = [text[start:end] for start, end in marks]
    expected = [message["content"] + END for message in messages if message["role"] == "assistant"]
    if marked != expected:
        raise TuteeError(f"{FILE}: marks {marked} for the loss, not {expected}; fix the template")
