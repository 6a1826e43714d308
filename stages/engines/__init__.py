"""Talk to Ray, DVC, git and processes; their private modules are used here alone."""
