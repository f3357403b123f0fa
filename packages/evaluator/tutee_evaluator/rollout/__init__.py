"""Rolls an engine out: it continues the work of real students, step by step, against the grader.

The protocol of Koutcheme et al. (arXiv 2604.10720): for a held-out trajectory of N submissions and each
start k = 2..N, the engine reads the real history before submission k, writes the next submission, gets the
grader's feedback on its own program, and goes on, never beyond the student's own last submission.
"""
