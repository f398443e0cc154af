"""Answers to the same question in other words."""
