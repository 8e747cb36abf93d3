"""The generic worker image: its content, how it is built, how it is pushed.

A worker must have the notebook's Python and the notebook's versions of packages, or pickled code does not travel. So the image is
not published somewhere: it is made from the environment that asks for it, and its tag says what is in it.

`plan_image` gives the content as plain values, `build_image` and `push_image` call docker, podman or buildah, whichever works here.
Where none does, `write_context` leaves everything in a folder that any machine with one of them can build.
"""
