"""Define what is learned: architectures, tasks and the one training loop; torch alone is imported."""
