"""A trained model in a web page that runs without Python: draw, and watch it find."""
