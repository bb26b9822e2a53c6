"""A year in minutes: HQ's services with a virtual clock, boxes that live through it, and a CA behind its port."""
