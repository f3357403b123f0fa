"""Trains artificial students: base, SFT, preference pairs, DPO, DAPO."""

import os

# OpenMP's threads spin while they wait, by default. With more work than cores (DVC, a grader and a
# service beside the training) that made a training step ten times slower here; sleeping costs nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
