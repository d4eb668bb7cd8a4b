"""Runs that go on by themselves, and the folders they leave."""
