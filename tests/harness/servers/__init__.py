"""What stands behind nginx."""
