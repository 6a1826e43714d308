"""One architecture per file; the file's name is its registration. The contract is `models.base.Architecture`."""
