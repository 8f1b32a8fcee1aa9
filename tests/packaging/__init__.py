"""What surrounds the code: package, plug-in, scripts, .deb."""
