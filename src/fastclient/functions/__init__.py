"""The third door: any function in a provider's place, with the same layers around it."""
