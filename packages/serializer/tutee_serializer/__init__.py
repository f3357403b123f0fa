"""Logs in, dialogs out: a course's submissions, checked, pseudonymised, validated and written as dialogs."""
