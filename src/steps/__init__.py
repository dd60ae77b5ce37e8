"""How a training step is computed fast. The only room that touches Lightning's insides."""
