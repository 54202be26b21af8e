"""The page that shows searches, and where what it shows comes from."""
