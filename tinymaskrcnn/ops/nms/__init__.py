"""Non-maximum suppression, for one class or for many."""
