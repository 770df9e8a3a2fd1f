"""Strategies that change what is minimized: Problem -> Problem."""
