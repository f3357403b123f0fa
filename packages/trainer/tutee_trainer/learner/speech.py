"""What the sentences of a turn do, by English surface forms: ask, request, restate, or explain."""

import re
from collections.abc import Iterator
from enum import StrEnum


class Act(StrEnum):
    """What a sentence does."""

    ASK = "ask"  # a question, or a request for a definition, an example, an explanation
    RESTATE = "restate"  # says again in the student's own words what was understood
    OWN = "own"  # speaks of the student's own knowledge and work
    EXPLAIN = "explain"  # any other sentence of words: it states what is so, or what to do
    NONE = "none"  # no words


_OPENER = (
    r"(?:(?:and|but|so|ok(?:ay)?|hm+|wait|sorry|then|also|well|oh|um+|uh|or|hi|hello|thanks|thank you|"
    r"teacher|yes|no|right|alright|now|please)\b[\s,:;.!-]*)*"
)
_WH = r"(?:what|why|how|when|where|which|who|whose)(?:'s|'re)?\b"
_AUX = (
    r"(?:is|are|am|was|were|do|does|did|can|could|should|would|will|shall|may|might|must|have|has|had)"
    r"(?:n't)?\b"
)
# A question begins as one, at its start or after a comma or dash; "which" elsewhere opens a relative clause.
_QUESTION = re.compile(
    rf"^{_OPENER}(?:{_WH}|{_AUX})|[,;:–—-]\s*(?:{_OPENER})(?:what|why|how|when|where|who|{_AUX})"
    r"|\b(?:what|why|how|when|where|who)(?:'s|\s+(?:is|are|do|does|did|can|could|should|would|will|happens|"
    r"if|about))\b",
    re.I,
)
_RESTATE = re.compile(
    rf"^{_OPENER}(?:you mean|it means|that means|in other words|if i understand|i think you (?:mean|said)|"
    r"you(?:'re| are) saying|let me (?:say|put|repeat)|it(?:'s| is) like)|^so,?\s",
    re.I,
)
_REQUEST = re.compile(
    r"\b(?:can|could|would|will) you\b"
    r"|\bplease\b.*\b(?:explain|show|give|tell|define|repeat|say|describe|help)\b"
    r"|\bi (?:still |really )?(?:do not|don't|did not|didn't|cannot|can't|could not|couldn't) "
    r"(?:quite |really |fully )?(?:understand|get|see|follow|know)\b"
    r"|\bi(?:'m| am) (?:still |a bit |a little |so |really )?(?:confused|lost|not sure|unsure|stuck)\b"
    r"|\bi(?:'d| would)? (?:want|like|love|need) (?:to (?:see|know|understand|hear)|an? )"
    rf"|^{_OPENER}(?:show|give|tell) me\b",
    re.I,
)
# What one who teaches or serves says: not a learner's question, however it ends.
_OFFER = re.compile(
    r"\b(?:can|could|may|shall|should) i (?:help|assist|explain|show|clarify)|\bwould you (?:like|prefer)"
    r"|\bdo you (?:have|need|understand|want|know|see)|\bdoes (?:that|this|it) (?:make sense|help)"
    r"|\blet me (?:know|explain|show|help)|\banything else\b|\bany (?:other |more |further )?questions"
    r"|\bwhat (?:would|do) you (?:like|want|need|think)|\bwhat (?:is|are) your\b|\bhappy to (?:help|explain)"
    r"|\bcan you (?:guess|try|write|tell me what)",
    re.I,
)
_OWN = re.compile(r"\b(?:i|i'm|i've|i'd|i'll|my|me)\b", re.I)
_FEWEST = 3  # words of a question or a request
_LONGEST_LEAD = 8  # words before what makes a sentence a question: more are a statement with one tied to it
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return [word.lower() for word in WORD.findall(text.replace("’", "'"))]


def stem(word: str) -> str:
    """A word without the ending of its plural or its verb's third person."""
    word = word.removesuffix("'s").lower()
    for ending, rest in (("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("ies", "y")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + rest
    return (
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
    )


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text; a line ends one."""
    for part in re.split(r"(?<=[.!?])\s+|\n+", text):
        if part.strip():
            yield part.strip()


def act(sentence: str) -> Act:
    """What a sentence does. A question mark alone makes no question: it needs a question's form and words."""
    sentence = sentence.replace("’", "'")
    count = len(words(sentence))
    if not count:
        return Act.NONE
    if _OFFER.search(sentence):
        return Act.EXPLAIN
    ends_asking = sentence.rstrip("\"') ").endswith("?")
    found = (_QUESTION.search(sentence) if ends_asking else None) or _REQUEST.search(sentence)
    if count >= _FEWEST and found and len(words(sentence[: found.start()])) <= _LONGEST_LEAD:
        return Act.ASK
    if _RESTATE.search(sentence):
        return Act.ASK if ends_asking and count > _FEWEST else Act.RESTATE
    return Act.OWN if _OWN.search(sentence) else Act.EXPLAIN
