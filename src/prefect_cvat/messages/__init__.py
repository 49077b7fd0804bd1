"""The words of messages: plurals, suggestions, bounded text, names of arguments."""
