"""Rolls out artificial students against the grader and compares them with real students."""
