"""An artificial class to give away: who works on what and when, what it owes to whom, and its files."""
