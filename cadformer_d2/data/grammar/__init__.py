"""A grammar of expressions that single out one object of a scene, wherever the scene is from."""
