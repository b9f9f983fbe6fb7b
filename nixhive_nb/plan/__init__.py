"""The plan: steps as values, what makes them, and what they tell."""
