"""What a person may ask for.

The recipe's schema, its loader and checks, and the plan that follows from it.
"""
