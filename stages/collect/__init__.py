"""How rows come and stay: parts that are never rewritten without need, and what is known of the files they are from."""
