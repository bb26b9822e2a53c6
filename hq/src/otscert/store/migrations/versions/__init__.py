"""One step for each version of the schema; a step's revision is the version."""
