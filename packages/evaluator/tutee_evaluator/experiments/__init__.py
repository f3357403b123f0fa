"""Experiments on artificial classes: feedback policies played against the same students."""
