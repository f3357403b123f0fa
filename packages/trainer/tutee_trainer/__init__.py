"""Trains artificial students: base, SFT, preference pairs, DPO, DAPO."""
