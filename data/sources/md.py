"""A text file is read as the corpus that `texts:` reads."""

from data.sources.texts import Source as Source
