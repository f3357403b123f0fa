"""What runs inside the sandbox: a small program of its own that imports nothing of the package outside this folder."""
