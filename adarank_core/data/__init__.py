"""Texts and labelled tasks."""
