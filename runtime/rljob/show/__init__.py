"""Output for users: tables, live views and reports."""
