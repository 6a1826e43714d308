"""The page about prepared rows: what they hold, how the splits differ, what was found, what changed."""
