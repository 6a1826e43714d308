"""A text file is read as the corpus that `texts:` reads."""

from evergreen.data.sources.texts import Source as Source
