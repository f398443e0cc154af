"""Requests as the official SDKs write them, one file for each of their formats."""
