"""Text tables divided by tabs: `data.sources.csv` finds the delimiter by itself."""

from data.sources.csv import Source as Source
