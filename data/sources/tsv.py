"""Text tables divided by tabs: `evergreen.data.sources.csv` finds the delimiter by itself."""

from evergreen.data.sources.csv import Source as Source
