"""Text that no chat template takes for markup.

Covers the marks of ChatML, Qwen, Llama, Mistral, Gemma, Phi and DeepSeek. One more backslash after the
opening bracket makes text of them: `<|im_end|>` becomes `<\\|im_end|>`, and that `<\\\\|im_end|>`.
"""

import re

_NAMES = r"/?(?:think|tool_call|tool_response|s)>|(?:start_of_turn|end_of_turn|bos|eos|pad|unk)>"
_TAG = re.compile(rf"<(?=\\*(?:[|｜]|{_NAMES}))")
_ESCAPED_TAG = re.compile(rf"<\\(?=\\*(?:[|｜]|{_NAMES}))")
_INSTRUCTION = re.compile(r"\[(?=\\*/?INST\])")
_ESCAPED_INSTRUCTION = re.compile(r"\[\\(?=\\*/?INST\])")


def escape(text: str) -> str:
    """`text` without anything that a chat template or a format takes for markup."""
    # To search first is three times as fast: most programs hold a "<", and hardly any holds markup.
    if "<" in text and _TAG.search(text):
        text = _TAG.sub(r"<\\", text)
    return _INSTRUCTION.sub(r"[\\", text) if "INST]" in text else text


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    if "\\" not in text:
        return text
    return _ESCAPED_INSTRUCTION.sub("[", _ESCAPED_TAG.sub("<", text))
