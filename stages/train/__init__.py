"""Train the candidate: the plan of a run, where its weights begin, its workers, and Ray Train around them."""
