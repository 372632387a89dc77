"""A model behind a web address. Needs the extra ``serve``, and no PyTorch for exported files."""
