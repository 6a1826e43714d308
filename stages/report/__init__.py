"""Draw the page of a validation from what is stored."""
