"""Rolls artificial students out against the grader and compares them with the real ones."""
