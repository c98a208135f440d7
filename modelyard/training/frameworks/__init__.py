"""What a framework is, how its definition is read and checked, and which are there without anybody registering them."""
