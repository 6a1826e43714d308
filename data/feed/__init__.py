"""What feeds of training share: rows drawn by weight, batches of one length, streams of row groups."""
