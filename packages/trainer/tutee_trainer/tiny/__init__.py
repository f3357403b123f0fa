"""Only what a tiny model with random weights needs: its tokenizer, its first weights and its training."""
