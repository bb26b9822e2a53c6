"""HQ's use cases: a box says hello, enrolls, asks for its order, checks in; an order is taken through a CA.

Knows the order of steps: persist first, then act. Decisions are the domain's; rows the store's; the outside is behind
the ports of `ports.py`.
"""
