"""The sandbox: the processes that run student programs, and the caller's side of them."""
