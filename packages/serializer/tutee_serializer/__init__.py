"""Logs in, dialogs out: a course's submissions read, judged, unnamed, validated and written as dialogs."""
