"""What is remembered of people: profiles, days and notes; and finding it again."""
