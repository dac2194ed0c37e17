"""Reasoning tasks."""
