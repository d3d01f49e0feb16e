"""What people look at: tables, live views and reports."""
