"""RoIAlign: the features of a region, sampled without rounding its coordinates."""
