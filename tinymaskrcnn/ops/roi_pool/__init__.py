"""RoIPool: the features of a region, by the maximum over rounded bins."""
