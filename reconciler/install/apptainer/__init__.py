"""Images for Apptainer: one file per component and version below `paths.images`.

    {images}/site-2.8.1.sif               the image: put into place whole, by one rename, never written to
    {images}/.site-2.8.1.sif.complete     which build it is of, and which file was meant
    {images}/.site-2.8.1.sif.building-*/  where one is made; what a killed pass left goes before the next
    {images}/.site-2.8.1.sif.lock         one builder at a time: another deployment may share the folder

A process in a container holds its image open. So an image may be replaced under it: the process goes on with
the file that it began with, and is found to be outdated, because that is another file than the one in place.

Two deployments may share `paths.images` and an image. Do not let them want different sources under one file
name there: they would take the place from one another on every pass.
"""
