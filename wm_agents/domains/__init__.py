"""What a learner knows of one domain.

The only rooms that may import from environments and learners alike.
"""
