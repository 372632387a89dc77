"""How fast and how large a configured model is, beside what the machine could do."""
