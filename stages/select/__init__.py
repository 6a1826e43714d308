"""Choose an architecture: race all that fit the data and the task."""
