"""How kept and drawn parts are joined, a module for each technique."""
