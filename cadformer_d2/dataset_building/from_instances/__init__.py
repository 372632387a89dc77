"""From instance masks to a referring dataset: expressions written from what the masks show."""
