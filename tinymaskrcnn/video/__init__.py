"""Video: clips read and written frame by frame, and objects followed from frame to frame."""
