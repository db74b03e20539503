"""Non-maximum suppression, of one class and of many."""
