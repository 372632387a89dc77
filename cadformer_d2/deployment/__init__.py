"""A trained model as one file for other programs, and behind a web address."""
