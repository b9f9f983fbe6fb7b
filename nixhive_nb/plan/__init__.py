"""The plan: steps as values, what makes them, what runs them, and what they tell."""
