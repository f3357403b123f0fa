"""A learner to teach: topics, what earns a reward, the judge, conversations and their measures."""
