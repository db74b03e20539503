"""What is right in each exercise, and which mistakes are known. Read them after you have tried."""
