"""DNS: what the zone holds, what it answers, the server that speaks it and the check that it is served."""
