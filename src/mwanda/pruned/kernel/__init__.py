"""Products from masks and kept values, compiled on the machine that asks for them."""
