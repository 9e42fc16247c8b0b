"""What agents are doing for their users at the moment."""
