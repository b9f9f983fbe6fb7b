# How much there is to move. Change it in a copy of this folder to get larger or smaller systems.
{
  # The paths that all systems share, and the size of each.
  basePaths = 20;
  basePathKiB = 400;
  # What depends on a system's own packages and services.
  ownKiB = 200;
  # Kernel, modules and initial RAM disk, each.
  kernelKiB = 300;
}
