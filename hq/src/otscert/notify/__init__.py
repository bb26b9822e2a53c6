"""What HQ sends to the maker's own systems: bounded in time and size, to addresses that may be called.

Does not know what is sent, or what an answer means.
"""
