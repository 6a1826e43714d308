"""One architecture per file; the file's name is its name. The contract is `evergreen.models.base.Architecture`."""
