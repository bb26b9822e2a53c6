"""What HQ remembers, in SQL: one schema, one file per aggregate, one writer that groups transactions into commits.

Knows rows and how they change together. Decides nothing: whether a change is right is the domain's word.
"""
