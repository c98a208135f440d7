"""What requests of every service say alike: their ids, their pages, the fields that they mean."""
