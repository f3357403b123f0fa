"""Serves one artificial student: an HTTP API, an OpenAI-compatible chat, and a page for watching it."""
