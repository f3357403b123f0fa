"""The training methods, a method a file. Each file ends with its row of the table (`METHOD`)."""
