"""Servers behind nginx."""
