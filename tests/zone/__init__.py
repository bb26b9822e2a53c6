"""The zone as the RFCs, other name servers and attackers see it: `make test-zone`."""
