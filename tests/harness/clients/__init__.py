"""Clients of nginx."""
