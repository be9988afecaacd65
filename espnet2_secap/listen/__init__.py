"""Listening tests: pages for listeners, a server that takes their answers, and what the answers say."""
