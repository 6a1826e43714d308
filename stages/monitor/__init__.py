"""Compare what a released version is asked and answers with what it was made from."""
