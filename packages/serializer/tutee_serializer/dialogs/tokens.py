"""How many tokens texts have, when most of their lines are the same."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import polars as pl

from tutee_serializer.dialogs.chat import LONGEST_KEPT, Chat

# The words of the tiny preset's tokenizer. A newline and the blanks after it make one, so that an indented
# line costs no more than another.
WORDS = r"\n *| ?[A-Za-z_]+|[0-9]| +(?=\S)| ?[^\sA-Za-z_0-9]+|\s+"
_CUT = "\0"


class TokenCounter:
    """Counts the tokens of a turn from its content, the chat template's markup included.

    Counts are never too low. `contents` are counted now, all together; others when they are asked for.
    """

    def __init__(self, chat: Chat, contents: Iterable[str] = ()) -> None:
        self._chat = chat
        texts = pl.Series(list(set(contents)), dtype=pl.String)
        backend = chat.tokenizer.backend_tokenizer
        counts: Iterable[int] = count_tokens(backend, texts) if len(texts) else ()
        self._counted: dict[str, int] = dict(zip(texts, counts, strict=True))
        self._count = lru_cache(maxsize=1 << 16)(self.length)

    def __call__(self, content: str) -> int:
        known = self._counted.get(content)
        if known is None:  # long texts are not kept: a few thousand would fill the memory
            known = (self._count if len(content) <= LONGEST_KEPT else self.length)(content)
        return self._chat.markup + known

    def length(self, text: str) -> int:
        """The tokens of a text alone, without markup."""
        return len(self._chat.tokens(text))

    def room(self, length: int) -> int:
        """What a dialog's turns may count together so that the dialog has at most `length` tokens."""
        return length - self._chat.preamble


def line_words() -> Any:
    """The pre-tokenizer of the library `tokenizers` that splits a text into WORDS, and these into bytes."""
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def count_tokens(tokenizer: Any, texts: pl.Series) -> pl.Series:
    """The number of tokens of each text, as `tokenizer` (of the library `tokenizers`) encodes it without
    adding special tokens.

    Every distinct text is encoded once. Where the tokenizer never joins the end of a line with what
    follows, every distinct line is: the programs of a class are made of few different lines.
    """
    distinct = texts.unique()
    if not _cuts_at_lines(tokenizer) or distinct.str.contains(_CUT, literal=True).any():
        counted = pl.DataFrame({"text": distinct, "tokens": _encode(tokenizer, distinct)})
    else:
        marked = distinct.str.replace_all(r"([!-~])\n", f"${{1}}{_CUT}\n")
        lines = pl.DataFrame({"text": distinct, "line": marked.str.split(_CUT)}).explode("line")
        pieces = lines["line"].unique()
        sizes = pl.DataFrame({"line": pieces, "tokens": _encode(tokenizer, pieces)})
        counted = lines.join(sizes, on="line").group_by("text").agg(pl.col("tokens").sum())
    return texts.to_frame("text").join(counted, on="text", how="left", maintain_order="left")["tokens"]


def _encode(tokenizer: Any, texts: pl.Series) -> pl.Series:
    encodings = tokenizer.encode_batch_fast(texts.to_list(), add_special_tokens=False)
    return pl.Series([len(encoding) for encoding in encodings], dtype=pl.Int64)


def _cuts_at_lines(tokenizer: Any) -> bool:
    """Whether a text may be cut between a visible ASCII character and a newline without changing its tokens.

    True with WORDS and with GPT-2's pattern: none of their matches holds both, none depends on what comes
    before it, and only matches of blanks depend on what comes next. Nothing else may act on a text as a
    whole, and no added token on the newline behind it.
    """
    parts = json.loads(tokenizer.to_str())
    return (
        _pattern(parts["pre_tokenizer"] or {}) in (WORDS, "GPT-2")
        and not any(parts[part] for part in ("normalizer", "truncation", "padding"))
        and not any("\n" in token["content"] or token["rstrip"] for token in parts["added_tokens"])
    )


def _pattern(words: dict[str, Any]) -> str | None:
    """What splits a text into words, where that is one pattern and then bytes."""
    if words.get("type") == "ByteLevel" and not words["add_prefix_space"]:
        return "GPT-2" if words["use_regex"] else ""
    if words.get("type") != "Sequence" or len(words["pretokenizers"]) != 2:
        return None
    split, rest = words["pretokenizers"]
    is_split = split["type"] == "Split" and split["behavior"] == "Isolated" and not split["invert"]
    return split["pattern"].get("Regex") if is_split and _pattern(rest) == "" else None
