"""The subcommands of `tutee`.

Heavy libraries are imported inside them, so that `tutee --help` answers at once.
"""
