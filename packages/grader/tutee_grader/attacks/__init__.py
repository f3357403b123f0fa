"""Hostile programs, as data: each tries to win marks it has not earned, to see or touch what is not its own, or to stay.

Every program is asked for `answer()`, which must return (or print) a secret that it cannot know. The secret also lies
in the caller's environment, in files outside the sandbox, behind a socket and in the tests themselves, so whatever
leaks turns into marks. `doctor.check_sandbox` runs the list on this machine, and so does the test suite.
Names in @...@ are replaced by those of the decoys (see doctor.py).
"""

from tutee_grader.attacks.forging import FORGING
from tutee_grader.attacks.marks import MARKS
from tutee_grader.attacks.reading import READING
from tutee_grader.attacks.scratch import SCRATCH
from tutee_grader.attacks.signals import SIGNALS
from tutee_grader.attacks.staying import STAYING
from tutee_grader.attacks.touching import TOUCHING
from tutee_grader.attacks.values import VALUES

ATTACKS = (*READING, *FORGING, *MARKS, *STAYING, *SIGNALS, *SCRATCH, *TOUCHING, *VALUES)
