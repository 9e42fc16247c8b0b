"""What users begin with."""
