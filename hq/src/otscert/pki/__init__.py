"""HQ's own trust: a private root, the TLS leaf and the answer certificate below it, and the key that seals the store.

Browsers never see any of it; boxes pin the root. Certificates for browsers come from a public CA (`ca`); which RSA keys
are too weak for one is here, too (`weak_rsa`).
"""
