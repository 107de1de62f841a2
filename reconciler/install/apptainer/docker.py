"""Install method `apptainer-docker`: an image that is converted from one of Docker or OCI."""

from __future__ import annotations

from reconciler.install.apptainer.image import Image

METHOD = Image("apptainer-docker")
