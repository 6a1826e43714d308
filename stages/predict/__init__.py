"""Answer rows of files with a released model: predictions, forecasts, features."""
