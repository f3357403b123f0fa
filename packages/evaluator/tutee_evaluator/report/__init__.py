"""Presents metrics: an HTML page, and a table for the terminal."""
