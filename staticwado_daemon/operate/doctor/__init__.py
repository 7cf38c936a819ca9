"""The doctor: small looks at a machine and a tree, each of which ends in "fine" or in a sentence on what to do."""
