"""What speaks to nginx."""
