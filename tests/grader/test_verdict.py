"""A verdict comes back from its forms as text and as a row."""

from hypothesis import given
from hypothesis import strategies as st

from tutee_grader.verdict import Outcome, Status, TestResult, Verdict

texts = st.text(max_size=20)
optional_texts = st.none() | texts
seconds = st.floats(0, 1e6)
results = st.builds(
    TestResult,
    texts,
    st.sampled_from(Outcome),
    texts,
    optional_texts,
    optional_texts,
    optional_texts,
    st.none() | st.integers(1, 10**7),
)
verdicts = st.builds(
    Verdict,
    st.floats(0, 100),
    st.sampled_from(Status),
    st.lists(results, max_size=4).map(tuple),
    seconds,
    seconds,
)


@given(verdicts)
def test_the_text_form_keeps_everything(verdict: Verdict) -> None:
    assert Verdict.from_json(verdict.to_json()) == verdict


@given(verdicts)
def test_the_row_keeps_what_feedback_is_made_from(verdict: Verdict) -> None:
    again = Verdict.from_row(verdict.to_row())
    assert (again.grade, again.status) == (verdict.grade, verdict.status)
    assert [(t.name, t.outcome, t.message) for t in again.tests] == [
        (t.name, t.outcome, t.message) for t in verdict.tests
    ]
