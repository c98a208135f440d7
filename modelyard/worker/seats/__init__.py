"""Places in which processes of a training job are started and ended from outside, and what is seen of them there."""
