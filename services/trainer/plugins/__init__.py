"""Packages that offer frameworks by code: where that code runs, and how it is asked."""
