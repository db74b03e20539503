"""Maximum over sliding windows of a feature map, with its gradient."""
