"""Commands, one at a time, and what is known of their ends until nobody needs it any more."""
