"""The version of the verdicts: part of every cache key and every verdict table; it changes when they may."""

VERSION = "0.3.0"
