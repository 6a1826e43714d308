"""What is learned from: rows in Arrow, tensors in NumPy, and the one description of both (`evergreen.data.spec`)."""
