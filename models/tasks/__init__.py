"""One task per file; the file's name is its registration. The contract is `evergreen.models.base.Task`."""
