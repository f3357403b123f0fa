"""The parts of a learner's reward: their laws, and the cheap tricks that must not pay."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_trainer.learner.conversation import in_context
from tutee_trainer.learner.parts import PARTS, Answer, asks, finishes, novice, on_subject, reasons, varied
from tutee_trainer.learner.reward import Weights, score_parts
from tutee_trainer.learner.speech import Act, act
from tutee_trainer.learner.topics import Topic, read_topics

LISTS = Topic(
    name="lists",
    opening="A list holds several values in order, in square brackets.",
    follow_ups=("Use append to put one more element at its end.",),
    terms=("list", "element", "append", "bracket"),
)
LOOPS = Topic(
    name="loops",
    opening="A while loop repeats its body as long as its condition holds.",
    terms=("loop", "repeat", "body", "condition"),
)
FILES = Topic(name="files", opening="A file is opened, read and closed.", terms=("file", "open", "close"))
TOPICS = (LISTS, LOOPS, FILES)
GOOD = "Can a list hold both words and numbers?"
LECTURE = (
    "A list is an ordered collection which stores several values. The method append adds an element. "
    "Indexes begin with zero and lists may contain any objects, even other lists."
)


def answer(text: str, topic: Topic = LISTS, **more: object) -> Answer:
    (made,) = in_context([Answer(text, topic, topic.teacher[:1])], TOPICS)
    return replace(made, **more)


def reward(*answers: Answer) -> list[float]:
    """The rewards of turns of one step, with the default weights."""
    used = Weights().used
    parts = score_parts(in_context(answers, TOPICS), list(used), 1, None)
    return [sum(used[name] * parts[name][place] for name in used) for place in range(len(answers))]


# --- laws ---------------------------------------------------------------------------------------------

PIECES = (
    *(GOOD, LECTURE, "???", "What is a loop?", "I am lost.", "So it is a box.", "x = 1", "```", "<think>"),
    *("</think>", "list", "Could you show me an example?", "Lists are useful.", "…", "\n", "é?"),
)
turns = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=6).map(" ".join))


@given(turns, st.lists(turns, max_size=3), st.booleans())
def test_every_part_stays_in_its_range(text: str, others: list[str], finished: bool) -> None:
    turn = answer(text, others=tuple(others), finished=finished)
    for name, part in PARTS.items():
        assert part.low <= part.score(turn) <= part.high, name


@given(turns)
def test_to_explain_more_is_never_more_of_a_novice(text: str) -> None:
    more = f"{text}\nLists are ordered collections of values."
    assert novice(answer(more)) <= novice(answer(text))


@given(turns)
def test_a_statement_more_or_less_does_not_change_whether_a_turn_asks(text: str) -> None:
    assert asks(answer(f"Lists are useful.\n{text}")) == asks(answer(f"Loops are useful.\n{text}"))
    assert asks(answer(f"{text}\n{GOOD}")) in (0, 1)
    if "</think>" not in text:
        assert asks(answer(f"{text}\n\n{GOOD}")) == 1


@given(turns, st.sampled_from(("loop", "body", "file")))
def test_another_topics_word_brings_nothing_nearer_to_the_subject(text: str, word: str) -> None:
    assert on_subject(answer(f"{text} {word}")) <= on_subject(answer(text))


@given(turns, st.lists(turns, max_size=3), turns)
def test_one_more_turn_beside_it_makes_no_turn_more_varied(text: str, others: list[str], one: str) -> None:
    assert varied(answer(text, others=(*others, one))) <= varied(answer(text, others=tuple(others)))


@given(turns)
def test_a_copy_is_not_varied(text: str) -> None:
    turn = answer(text)
    assert varied(replace(turn, others=(turn.spoken,))) == 0


# --- what each part tells apart -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("What is a list?", Act.ASK),
        ("Hmm, okay, but why does it start with zero?", Act.ASK),
        ("If I append twice, does it grow twice?", Act.ASK),
        ("Could you please define the word element.", Act.ASK),
        ("I don’t understand what append means.", Act.ASK),
        ("I'd like to see an example.", Act.ASK),
        ("So a list is like a row of boxes?", Act.ASK),
        ("You mean the order stays the same.", Act.RESTATE),
        ("I think I have it now.", Act.OWN),
        ("Lists keep their order.", Act.EXPLAIN),
        ("Lists keep their order and grow as long as you append to them, right?", Act.EXPLAIN),
        ("Lists are collections which hold values and are ordered?", Act.EXPLAIN),
        ("A list holds its items in a fixed order, and what is in it can be changed?", Act.EXPLAIN),
        ("A list is a row of values that keep their order, is that right?", Act.EXPLAIN),
        ("Does that make sense?", Act.EXPLAIN),
        ("How can I help you today?", Act.EXPLAIN),
        ("Would you like me to show you another example?", Act.EXPLAIN),
        ("Why?", Act.EXPLAIN),
        ("?!?", Act.NONE),
    ],
)
def test_what_a_sentence_does(sentence: str, expected: Act) -> None:
    assert act(sentence) is expected


@pytest.mark.parametrize("code", ["```python\nx\n```", "def f(x):", "total = total + 1", "for x in y:\n  x"])
def test_a_solution_is_no_novices(code: str) -> None:
    assert novice(answer(f"I tried this.\n{code}")) == -1


def test_code_in_a_question_is_a_novices() -> None:
    assert novice(answer("What does print(x) show when x is a list?")) == 0


def test_a_turn_that_was_cut_off_does_not_finish() -> None:
    assert (finishes(answer(GOOD, finished=False)), finishes(answer(GOOD))) == (-1, 0)


def test_what_the_teacher_has_named_is_not_foreign() -> None:
    about_both = "Can a loop go through a list?"
    assert on_subject(answer(about_both)) == 0.5
    assert on_subject(answer(about_both, teacher=("A loop may go through it.",))) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>A list keeps order, so the first one stays first.</think> Can I change it?", 1),
        ("<think></think> Can I change it?", 0.75),
        ("<think>so so so so so so so</think> Can I change it?", 0.75),
        ("<think>A list keeps order, so the first one stays first.</think>", 0.75),
        ("<think>it is in order then</think> it is in order then", 0.75),
        ("<think>A list keeps order, so the first one stays first. Can I change it?", 0.25),
        ("Can I change it? <think>A list keeps its order, I think.</think>", 0.25),
        ("<think>a b c d e</think> x <think>f g h i j</think> y", 0),
        ("Can I change it?", 0),
    ],
)
def test_reasoning_stands_between_tags_before_an_answer(text: str, expected: float) -> None:
    assert reasons(answer(text)) == expected


def test_what_is_thought_is_not_what_is_said() -> None:
    turn = answer("<think>I should ask. What is an element?</think> Lists keep their order.")
    assert asks(turn) == 0
    assert turn.spoken == "Lists keep their order."


# --- tricks -------------------------------------------------------------------------------------------

TRICKS = {
    "marks alone": "???",
    "one word": "Why?",
    "off the subject": "Could you tell me what the weather is like today?",
    "a lecture with a question mark": f"{LECTURE.rstrip('.')}?",
    "a lecture, then a question": f"{LECTURE} What is an element?",
    "every word of the course": "What is list element loop body condition file open close?",
    "the teacher's words": "Does a list hold several values in order, in square brackets?",
    "an assistant's offer": "I can explain lists. Do you have any questions about lists?",
    "a program": "Is this right?\nmy_list = [1, 2]\nmy_list.append(3)",
    "many questions": "What is a list? Why is it a list? How long is a list? Who needs a list? "
    "Where is a list? When is it a list? What is an element? Why is it an element? How big is an element? "
    "Can a list be a list? "
    "Is a list an element? Could a list hold an element? Must a list have an element?",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_cheap_trick_earns_less_than_a_real_question(trick: str) -> None:
    (honest,), (cheap,) = reward(answer(GOOD)), reward(answer(TRICKS[trick]))
    assert cheap < honest - 0.2


def test_one_question_for_every_topic_earns_less_than_different_ones() -> None:
    learnt = "Could you give me an example, please?"
    same = reward(*(answer(learnt, topic) for topic in TOPICS for _ in range(2)))
    template = reward(*(answer(f"What is a {topic.name}?", topic) for topic in TOPICS))
    different = reward(
        answer(GOOD),
        answer("How do I know where the body of a loop ends?", LOOPS),
        answer("Why must a file be closed again?", FILES),
    )
    assert max(same) < max(template) < min(different)


def test_a_question_asked_before_in_the_conversation_is_not_varied() -> None:
    (again,) = in_context([Answer(GOOD, LISTS, LISTS.teacher, others=(GOOD,))], TOPICS)
    assert varied(again) == 0


# --- the demo's topics --------------------------------------------------------------------------------


def test_every_authored_topic_is_spoken_of_in_its_own_terms(repository: Path) -> None:
    """A question about the teacher's own words is on the subject."""
    file = repository / "courses/demo/topics.yaml"
    train, test = (read_topics(file, split) for split in ("train", "test"))
    topics = [*train, *test]
    assert len(topics) == 40 and len(test) == 12
    for topic in topics:
        for said in topic.teacher[:1]:
            (turn,) = in_context([Answer(f"What do you mean: {said}", topic, topic.teacher[:1])], topics)
            assert on_subject(turn) > 0, topic.name
