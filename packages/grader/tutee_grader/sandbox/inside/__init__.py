"""What runs inside the sandbox: a program of its own, which imports nothing from elsewhere."""
