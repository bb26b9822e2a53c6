"""HQ of OTS Cert: gives boxes on the LAN a DNS name and a browser-trusted certificate, and keeps both alive.

Start at `app` (what is wired to what) or `service` (what happens when a box calls).
"""

__version__ = "0.1.0"
