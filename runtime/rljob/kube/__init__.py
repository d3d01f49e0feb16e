"""The vocabulary that the client and the operator share: names, kinds, settings, manifests. Pure."""
