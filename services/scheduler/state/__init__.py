"""What the machine knows, hears and wants: its state, events and effects. Pure data; decides nothing."""
