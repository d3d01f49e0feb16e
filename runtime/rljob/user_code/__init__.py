"""The code of users: how it is found, and what becomes of what it raises and prints."""
