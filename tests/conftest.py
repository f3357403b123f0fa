"""What every test runs under."""

import os

# Tests share the machine with others of their kind; two threads that wait for each other on a busy core
# take many times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
