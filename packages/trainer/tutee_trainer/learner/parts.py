"""The parts of a learner's reward: each a pure function of one turn and what stands around it.

They judge by surface forms of English, so they are cheap, the same every time, and can be fooled by who knows
them; what each tells apart is tested, and a judge (`judge.py`) may stand beside them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

from tutee_trainer.learner.speech import Act, act, sentences, stem, words
from tutee_trainer.learner.topics import Topic


@dataclass(frozen=True)
class Answer:
    """A learner's turn, as it was written, on a topic.

    `teacher` is what the teacher had said so far. `others` are the turns that it should differ from: those
    of the same step and the student's own before it. `finished`: whether it ends within the tokens allowed.
    `foreign` are the stems of other topics' terms. `tag` is the name of the tags for reasoning.
    """

    text: str
    topic: Topic
    teacher: tuple[str, ...]
    others: tuple[str, ...] = ()
    finished: bool = True
    foreign: frozenset[str] = frozenset()
    tag: str = "think"

    @property
    def spoken(self) -> str:
        """The turn without the reasoning before it, which nobody hears."""
        return self.text.rpartition(f"</{self.tag}>")[2].strip()


@dataclass(frozen=True)
class Part:
    """A named part of the reward, from `low` to `high`."""

    low: float
    high: float
    score: Callable[[Answer], float]

    @property
    def description(self) -> str:
        """What the part is, in a sentence."""
        return str(self.score.__doc__).splitlines()[0]


OWN_WORDS = 25  # that a novice may say of themself and in restating, before it is a lecture
ASKING_WORDS = 45  # that they may ask with
LECTURE = 30  # words beyond, after which it cannot get worse
_FENCE = re.compile(r"```|~~~")
_CODE_LINE = re.compile(
    r"(?m)^\s*(?:def \w+\s*\(|class \w+\s*[:(]|(?:for|while|if|elif)\b.*:\s*$|return\b|import \w"
    r"|from \w+ import|print\s*\(|\w+\s*[-+*/]?=\s*\S)"
)
LEAST_THOUGHT = 5  # words of a reasoning, that differ from each other


def asks(answer: Answer) -> float:
    """1: the turn asks or requests something; 0.5: it only restates; 0: neither.

    A question has the form and the words of one: `???`, or a statement with a question mark, is none; nor is
    what a teacher asks ("Does that make sense?").
    """
    acts = {act(sentence) for sentence in sentences(answer.spoken)}
    return 1.0 if Act.ASK in acts else 0.5 if Act.RESTATE in acts else 0.0


def novice(answer: Answer) -> float:
    """0: stays a novice; down to -1 for a turn that lectures, or that solves with code.

    Every word of a sentence that explains counts, and so do more than `OWN_WORDS` words about the student or
    in restating, and more than `ASKING_WORDS` in questions: `LECTURE` of them are -1. A block of code, or a
    line that is code, is -1 at once; code within a question is not.
    """
    if _FENCE.search(answer.spoken) or _CODE_LINE.search(answer.spoken):
        return -1.0
    count = dict.fromkeys(Act, 0)
    for sentence in sentences(answer.spoken):
        count[act(sentence)] += len(words(sentence))
    own = count[Act.OWN] + count[Act.RESTATE]
    excess = count[Act.EXPLAIN] + max(0, own - OWN_WORDS) + max(0, count[Act.ASK] - ASKING_WORDS)
    return -min(1.0, excess / LECTURE)


def on_subject(answer: Answer) -> float:
    """The share of the topic's own terms among all terms of the subject that the turn uses; 0 without one.

    Terms of other topics count against it, unless the teacher has used them: a list of all words that a
    course knows is on no subject.
    """
    used = {stem(word) for word in words(answer.spoken)}
    own = used & stems(answer.topic)
    said = {stem(word) for text in answer.teacher for word in words(text)}
    foreign = (used & answer.foreign) - own - said
    return len(own) / (len(own) + len(foreign)) if own else 0.0


def varied(answer: Answer) -> float:
    """1 - the largest similarity of the turn's words to another turn's, or to what the teacher said.

    The similarity is twice the words in common, in order, over the words of both (Ratcliff and Obershelp's).
    """
    mine = words(answer.spoken)
    if not mine:
        return 0.0
    matcher = SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(mine)
    most = 0.0
    for other in dict.fromkeys((*answer.others, *answer.teacher)):
        matcher.set_seq1(words(other))
        if matcher.real_quick_ratio() > most and matcher.quick_ratio() > most:
            most = max(most, matcher.ratio())
    return 1.0 - most


def finishes(answer: Answer) -> float:
    """0: the turn ends by itself; -1: it was cut off at `dialog.max_new_tokens`."""
    return 0.0 if answer.finished else -1.0


def reasons(answer: Answer) -> float:
    """1: reasons between tags, and then answers; a quarter for each of four things that this takes.

    The turn opens with the one opening tag; there is one closing tag, after it; between them stand at least
    `LEAST_THOUGHT` different words; and words follow that are not the same ones. Without both tags, once
    each, the last two count nothing.
    """
    opening, closing = f"<{answer.tag}>", f"</{answer.tag}>"
    text = answer.text.strip()
    opens = text.startswith(opening) and text.count(opening) == 1
    before, _, after = text.partition(closing)
    closes = text.count(closing) == 1 and opening in before
    if not (opens and closes):
        return 0.25 * (opens + closes)
    thought, said = words(before.removeprefix(opening)), words(after)
    return 0.5 + 0.25 * (len(set(thought)) >= LEAST_THOUGHT) + 0.25 * (bool(said) and said != thought)


def stems(topic: Topic) -> frozenset[str]:
    """The stems of a topic's terms."""
    return frozenset(map(stem, topic.terms))


PARTS: dict[str, Part] = {
    "asks": Part(0, 1, asks),
    "novice": Part(-1, 0, novice),
    "on_subject": Part(0, 1, on_subject),
    "varied": Part(0, 1, varied),
    "finishes": Part(-1, 0, finishes),
    "reasons": Part(0, 1, reasons),
}
