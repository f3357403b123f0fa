"""An artificial class to give away: who works on what and when, what they hand in, and what it owes to whom."""
