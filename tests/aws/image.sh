#!/bin/sh
# The base image for tests/aws/test_image_build.py: `image.sh FILE` makes a tar of the root of a Debian with Python 3.11 and pip, which
# stands for the base image that a user's build fetches. Needs root, mmdebstrap and a Debian mirror.
set -eu
mmdebstrap --quiet --variant=apt --include=python3,python3-pip,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$1.part.tar" http://deb.debian.org/debian
mv "$1.part.tar" "$1"
