"""Rows of a log in, submissions out: checked, ordered, pseudonymised, masked and validated."""
