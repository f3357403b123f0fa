"""A blinded test: can a colleague tell an artificial student's work from the real student's?"""
