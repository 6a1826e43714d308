"""Recordings: read from files of all formats, written as WAV, and heard as bands of frequencies."""
