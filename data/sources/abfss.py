"""Azure Data Lake: `abfss://container@account.dfs.core.windows.net/folder/`; credentials as Azure's tools find them."""

from evergreen.data.sources import gs


class Source(gs.Source):
    """As Google Cloud Storage: Arrow knows both by their addresses."""
