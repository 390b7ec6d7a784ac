"""What the methods reach, and what it costs: measured, never asserted."""
