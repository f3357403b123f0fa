"""Leads a student from a wrong program to a right one by few changes that keep the student's style."""
