"""What a bundle takes along: it needs JAX and NumPy, and neither TensorFlow nor us.

Modules import each other relatively, because in a bundle this package stands alone.
"""
