"""What a student's model knows at a submission of what comes later in the real trajectory."""
