"""Feather is Arrow's file layout under its other name."""

from evergreen.data.sources.arrow import Source as Source
