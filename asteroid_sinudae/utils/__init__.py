"""What every other part uses, and what knows none of them."""
