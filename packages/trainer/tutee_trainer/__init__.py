"""Trains artificial students: dialogs in, a base model and adapters out."""
