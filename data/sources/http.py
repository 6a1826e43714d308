"""A file on the web, over a connection that anybody on its way can read or change."""

from evergreen.data.sources import https


class Source(https.Source):
    """As over https."""
