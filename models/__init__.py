"""What is learned: architectures, tasks and the one training loop. Needs torch and nothing else."""
