"""Install method `apptainer-sif`: an image that is fetched as it is."""

from __future__ import annotations

from reconciler.install.apptainer.image import Image

METHOD = Image("apptainer-sif")
