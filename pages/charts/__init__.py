"""Draw marks as SVG and as parts of pictures. The same mark gives the same bytes."""
