"""Find values that say the same twice: rows, texts, images and recordings that differ by little."""
