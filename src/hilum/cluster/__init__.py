"""Past one machine, on Ray: films analysed by a pool of actors, one model trained by processes on several nodes."""
