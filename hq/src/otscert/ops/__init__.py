"""What is built from the whole product: the demo and its parts, the doctor, plans. Nothing in HQ depends on it."""
