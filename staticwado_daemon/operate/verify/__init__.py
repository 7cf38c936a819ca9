"""Verify: is what the tree holds what its records say, and can what isn't be put right?"""
