"""Submissions and verdicts in, dialogs of learner and grader out."""
