"""The grader's version: part of every cache key and of every verdict table."""

VERSION = "0.1.0"
