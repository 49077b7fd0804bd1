"""Text of messages: plurals, suggestions, shortening, names of arguments."""
