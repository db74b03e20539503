"""RoIAlign: features of a region, sampled without rounding its coordinates."""
