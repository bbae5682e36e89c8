"""The rules of rollouts: pure functions from records to records.

No rule reads a clock, a random number, the store or the network: `now` and `jitter` are arguments. What a rule
decides is written by ledger.py in one transaction with everything else that the same cause changed.
"""
