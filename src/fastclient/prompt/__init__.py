"""What is sent: how long it is, what can be left out, and in which order it stands."""
