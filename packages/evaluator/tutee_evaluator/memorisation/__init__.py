"""What models memorise of the students they learn from: canaries' secrets, and programs of one student."""
