"""What a person may ask for: recipes, their schema, and the numbers that follow from them."""
