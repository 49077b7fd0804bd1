"""Users, logins, tokens, organizations, and who may see what."""
