"""Columns of words that name classes: how they are spelled, known, counted and checked."""
