"""The command line: words and pictures for a person, no logic of its own."""
